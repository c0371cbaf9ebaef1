package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/kubernetes"
	"github.com/kilnbuild/kiln/internal/embedded"
	"github.com/kilnbuild/kiln/warehouse"
)

// A kubeBlock is runner "kubernetes", or with a queue runner "kueue", of config.hcl:
// docs/runners.md says what each line is for.
type kubeBlock struct {
	Kubeconfig string `hcl:"kubeconfig,optional"`
	Context    string `hcl:"context,optional"`
	Namespace  string `hcl:"namespace,optional"`

	Images        string       `hcl:"images,optional"`
	Warehouse     string       `hcl:"warehouse,optional"`
	WarehouseHere string       `hcl:"warehouse_here,optional"`
	Secrets       []string     `hcl:"secrets,optional"`
	Volumes       []kubeVolume `hcl:"volume,block"`

	ServiceAccount   string            `hcl:"service_account,optional"`
	NodeSelector     map[string]string `hcl:"node_selector,optional"`
	Tolerations      []kubeToleration  `hcl:"toleration,block"`
	ImagePullSecrets []string          `hcl:"image_pull_secrets,optional"`
	ImagePullPolicy  string            `hcl:"image_pull_policy,optional"`
	RunAsUser        *int64            `hcl:"run_as_user,optional"`
	Confine          bool              `hcl:"confine,optional"`

	CPUs   float64 `hcl:"cpus,optional"`
	Memory string  `hcl:"memory,optional"`

	NetworkPolicy *bool    `hcl:"network_policy,optional"`
	Egress        []string `hcl:"egress,optional"`
	TTL           string   `hcl:"ttl,optional"`
	Helper        string   `hcl:"helper,optional"`

	Queue         string `hcl:"queue,optional"`
	PriorityClass string `hcl:"priority_class,optional"`
}

type kubeVolume struct {
	Path     string `hcl:"path,label"`
	Claim    string `hcl:"claim,optional"`
	HostPath string `hcl:"host_path,optional"`
	ReadOnly bool   `hcl:"read_only,optional"`
}

type kubeToleration struct {
	Key      string `hcl:"key,optional"`
	Operator string `hcl:"operator,optional"`
	Value    string `hcl:"value,optional"`
	Effect   string `hcl:"effect,optional"`
}

// decodeKube reads the block of a runner. That of Kueue has what the block of "kubernetes"
// says where its own says nothing.
func decodeKube(o runnerSetting) (b kubeBlock, err error) {
	decode := func(body hcl.Body) (b kubeBlock, err error) {
		if body == nil {
			return b, nil
		}
		if diags := gohcl.DecodeBody(body, nil, &b); diags.HasErrors() {
			return b, diags
		}
		return b, nil
	}
	if b, err = decode(o.block); err != nil || o.name != kubernetes.QueueName {
		return b, err
	}
	base, err := decode(o.base)
	return b.over(base), err
}

// openKube opens the runner of a cluster.
func openKube(o runnerSetting) (exec.Runner, error) {
	b, err := decodeKube(o)
	if err != nil {
		return nil, err
	}
	c, err := b.config()
	if err != nil {
		return nil, err
	}
	if o.name == kubernetes.QueueName && c.Queue == "" {
		return nil, fmt.Errorf("no queue is named: set queue = \"LOCALQUEUE\" in the block runner %q of config.hcl", o.name)
	}
	if o.name == kubernetes.Name {
		c.Queue = ""
	}
	return newKube(o, c, b.Helper)
}

func newKube(o runnerSetting, c kubernetes.Config, helper string) (exec.Runner, error) {
	program, err := embedded.Kube()
	if err != nil {
		return nil, err
	}
	if helper == "" {
		if helper, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	local, err := openWares()
	if err != nil {
		return nil, err
	}
	cache, err := cacheDir("layer")
	if err != nil {
		return nil, err
	}
	return kubernetes.New(kubernetes.Options{
		Config: c, Registry: o.registry, Local: local, CacheDir: cache, Program: program, Helper: helper,
		Open: func(ctx context.Context, url string) (warehouse.Store, error) {
			for _, w := range o.config.Warehouses { // with its credentials
				if w.URL == url {
					return openWarehouse(ctx, w)
				}
			}
			return openStore(ctx, url)
		},
	})
}

// over is b where it says something, else base.
func (b kubeBlock) over(base kubeBlock) kubeBlock {
	first(&b.Kubeconfig, base.Kubeconfig)
	first(&b.Context, base.Context)
	first(&b.Namespace, base.Namespace)
	first(&b.Images, base.Images)
	first(&b.Warehouse, base.Warehouse)
	first(&b.WarehouseHere, base.WarehouseHere)
	first(&b.ServiceAccount, base.ServiceAccount)
	first(&b.ImagePullPolicy, base.ImagePullPolicy)
	first(&b.RunAsUser, base.RunAsUser)
	first(&b.Confine, base.Confine)
	first(&b.CPUs, base.CPUs)
	first(&b.Memory, base.Memory)
	first(&b.NetworkPolicy, base.NetworkPolicy)
	first(&b.TTL, base.TTL)
	first(&b.Helper, base.Helper)
	b.Volumes = several(b.Volumes, base.Volumes)
	b.Secrets = several(b.Secrets, base.Secrets)
	b.Tolerations = several(b.Tolerations, base.Tolerations)
	b.ImagePullSecrets = several(b.ImagePullSecrets, base.ImagePullSecrets)
	b.Egress = several(b.Egress, base.Egress)
	if b.NodeSelector == nil {
		b.NodeSelector = maps.Clone(base.NodeSelector)
	}
	return b
}

func first[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

func several[T any](v, otherwise []T) []T {
	if len(v) == 0 {
		return otherwise
	}
	return v
}

// config is what the runner takes.
func (b kubeBlock) config() (c kubernetes.Config, err error) {
	c = kubernetes.Config{
		Kubeconfig: b.Kubeconfig, Context: b.Context, Namespace: b.Namespace,
		Images: b.Images, Warehouse: b.Warehouse, WarehouseHere: b.WarehouseHere, Secrets: b.Secrets,
		ServiceAccount: b.ServiceAccount, NodeSelector: b.NodeSelector,
		ImagePullSecrets: b.ImagePullSecrets, ImagePullPolicy: b.ImagePullPolicy, RunAsUser: b.RunAsUser, Confine: b.Confine,
		CPUs: b.CPUs, NoPolicy: b.NetworkPolicy != nil && !*b.NetworkPolicy, Egress: b.Egress,
		Queue: b.Queue, PriorityClass: b.PriorityClass,
	}
	for _, v := range b.Volumes {
		c.Volumes = append(c.Volumes, kubernetes.Volume(v))
	}
	for _, t := range b.Tolerations {
		c.Tolerations = append(c.Tolerations, kubernetes.Toleration(t))
	}
	if b.TTL != "" {
		if c.TTL, err = time.ParseDuration(b.TTL); err != nil {
			return c, fmt.Errorf("ttl: %w", err)
		}
	}
	if b.Memory != "" {
		var size sizeValue
		if err := size.Set(b.Memory); err != nil {
			return c, fmt.Errorf("memory: %w", err)
		}
		c.Memory = int64(size)
	}
	return c, nil
}

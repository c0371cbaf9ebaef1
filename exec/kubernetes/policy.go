package kubernetes

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/kilnbuild/kiln/exec/kubernetes/api"
)

// policy sees to it that a network policy holds for offline runs in the client's namespace.
// It reports whether one does: not where kiln may write none. Whether the cluster's network
// heeds policies, kiln cannot know.
func (r *Runner) policy(ctx context.Context, c *api.Client) (bool, error) {
	if r.NoPolicy {
		return false, nil
	}
	r.policyMu.Lock() // one asks, the others wait
	defer r.policyMu.Unlock()
	holds, known := r.policies[c.Namespace]
	if known {
		return holds, nil
	}
	manifest, err := networkPolicy(c.Namespace, r.Egress)
	if err != nil {
		return false, err
	}
	err = c.Create(ctx, "/apis/networking.k8s.io/v1/namespaces/"+c.Namespace+"/networkpolicies", manifest, nil)
	switch {
	case err == nil, api.Is(err, http.StatusConflict):
		holds = true
	case !api.Is(err, http.StatusForbidden):
		return false, fmt.Errorf("write network policy: %w", err)
	}
	r.policies[c.Namespace] = holds
	return holds, nil
}

// networkPolicy lets pods with networkLabel "none" reach what is in egress, CIDR or
// CIDR:PORT, and nothing else. Its name follows from what it says.
func networkPolicy(namespace string, egress []string) (object, error) {
	rules := []object{}
	for _, e := range egress {
		cidr, port, both := strings.Cut(e, "/")
		bits, port, hasPort := strings.Cut(port, ":")
		if !both || strings.Contains(bits, ":") {
			return nil, fmt.Errorf("egress %q: want CIDR or CIDR:PORT, such as 10.0.0.7/32:9000", e)
		}
		rule := object{"to": []object{{"ipBlock": object{"cidr": cidr + "/" + bits}}}}
		if hasPort {
			n, err := strconv.ParseUint(port, 10, 16)
			if err != nil {
				return nil, fmt.Errorf("egress %q: port %q: want a number", e, port)
			}
			rule["ports"] = []object{{"protocol": "TCP", "port": n}}
		}
		rules = append(rules, rule)
	}
	sum := sha256.Sum256([]byte(strings.Join(egress, " ")))
	return object{
		"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
		"metadata": object{
			"name": "kiln-offline-" + hex.EncodeToString(sum[:4]), "namespace": namespace,
			"labels": object{"app.kubernetes.io/managed-by": "kiln"},
		},
		"spec": object{
			"podSelector": object{"matchLabels": object{networkLabel: "none"}},
			"policyTypes": []string{"Ingress", "Egress"}, "ingress": []object{}, "egress": rules,
		},
	}, nil
}

package api

import (
	"encoding/json"
	"time"
)

// Meta is what all objects have.
type Meta struct {
	Name              string            `json:"name"`
	Namespace         string            `json:"namespace,omitempty"`
	UID               string            `json:"uid,omitempty"`
	Labels            map[string]string `json:"labels,omitempty"`
	Annotations       map[string]string `json:"annotations,omitempty"`
	OwnerReferences   []Owner           `json:"ownerReferences,omitempty"`
	CreationTimestamp time.Time         `json:"creationTimestamp,omitzero"`
	DeletionTimestamp time.Time         `json:"deletionTimestamp,omitzero"`
}

// Owner is whom an object is deleted with.
type Owner struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	UID        string `json:"uid"`
}

// A Condition is one of an object's.
type Condition struct {
	Type               string    `json:"type"`
	Status             string    `json:"status"` // True, False, Unknown
	Reason             string    `json:"reason,omitempty"`
	Message            string    `json:"message,omitempty"`
	LastTransitionTime time.Time `json:"lastTransitionTime,omitzero"`
}

// True returns the condition of a type if it holds.
func True(all []Condition, kind string) (Condition, bool) {
	for _, c := range all {
		if c.Type == kind && c.Status == "True" {
			return c, true
		}
	}
	return Condition{}, false
}

// Find returns the condition of a type, whether it holds or not.
func Find(all []Condition, kind string) Condition {
	for _, c := range all {
		if c.Type == kind {
			return c
		}
	}
	return Condition{}
}

// A Job as it is read.
type Job struct {
	Metadata Meta `json:"metadata"`
	Spec     struct {
		Suspend bool `json:"suspend"`
	} `json:"spec"`
	Status struct {
		Conditions []Condition `json:"conditions"`
		StartTime  time.Time   `json:"startTime"`
		Active     int         `json:"active"`
	} `json:"status"`
}

// A Pod as it is read.
type Pod struct {
	Metadata Meta `json:"metadata"`
	Spec     struct {
		NodeName string `json:"nodeName"`
	} `json:"spec"`
	Status struct {
		Phase                 string      `json:"phase"`
		Reason                string      `json:"reason"`
		Message               string      `json:"message"`
		Conditions            []Condition `json:"conditions"`
		InitContainerStatuses []Container `json:"initContainerStatuses"`
		ContainerStatuses     []Container `json:"containerStatuses"`
	} `json:"status"`
}

// A Container is the state of one; at most one of the three is set.
type Container struct {
	Name  string `json:"name"`
	State struct {
		Waiting    *Waiting    `json:"waiting"`
		Running    *struct{}   `json:"running"`
		Terminated *Terminated `json:"terminated"`
	} `json:"state"`
}

// Waiting is why a container does not run yet.
type Waiting struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// Terminated is how a container ended.
type Terminated struct {
	ExitCode   int       `json:"exitCode"`
	Signal     int       `json:"signal"`
	Reason     string    `json:"reason"`
	Message    string    `json:"message"` // what it wrote to its termination log
	StartedAt  time.Time `json:"startedAt"`
	FinishedAt time.Time `json:"finishedAt"`
}

// A Workload is Kueue's, as it is read.
type Workload struct {
	Metadata Meta `json:"metadata"`
	Spec     struct {
		QueueName string `json:"queueName"`
		Priority  int    `json:"priority"`
		Active    *bool  `json:"active"`
	} `json:"spec"`
	Status struct {
		Conditions []Condition     `json:"conditions"`
		Admission  json.RawMessage `json:"admission"`
	} `json:"status"`
}

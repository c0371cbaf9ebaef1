// Command summary is a function in Go: it sums up what was counted.
package main

import (
	"context"
	"errors"

	runner "github.com/kilnbuild/kiln/exec/function/runners/go"
)

type text struct {
	Name  string `json:"name"`
	Words int    `json:"words"`
}

type summary struct {
	Texts int `json:"texts"`
	Words int `json:"words"`
}

func sum(_ context.Context, texts []text) (summary, error) {
	if len(texts) == 0 {
		return summary{}, errors.New("there are no texts")
	}
	s := summary{Texts: len(texts)}
	for _, t := range texts {
		s.Words += t.Words
	}
	return s, nil
}

func main() { runner.Main(sum) }

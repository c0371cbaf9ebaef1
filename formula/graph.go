package formula

import (
	"container/heap"
	"slices"
	"strings"
)

// sortSteps puts steps into an order in which every step comes after those it
// needs, ties by address. Circles are reported.
func (l *loader) sortSteps(steps []*Step) []*Step {
	slices.SortFunc(steps, func(a, b *Step) int { return strings.Compare(a.Addr, b.Addr) })
	index := make(map[string]int, len(steps))
	for i, s := range steps {
		index[s.Addr] = i
	}
	needs := make([][]int, len(steps))    // of each step, what it waits for
	neededBy := make([][]int, len(steps)) // and who waits for it
	waiting := make([]int, len(steps))
	for i, s := range steps {
		needs[i] = stepNeeds(s, index)
		waiting[i] = len(needs[i])
		for _, j := range needs[i] {
			neededBy[j] = append(neededBy[j], i)
		}
	}
	ready := &intHeap{}
	for i, n := range waiting {
		if n == 0 {
			*ready = append(*ready, i) // in order, so it is a heap
		}
	}
	sorted := make([]*Step, 0, len(steps))
	for ready.Len() > 0 {
		i := heap.Pop(ready).(int)
		sorted = append(sorted, steps[i])
		for _, j := range neededBy[i] {
			if waiting[j]--; waiting[j] == 0 {
				heap.Push(ready, j)
			}
		}
	}
	if len(sorted) < len(steps) {
		l.reportStepCycles(steps, needs, waiting)
	}
	return sorted
}

// stepNeeds returns the indexes of the steps that s waits for, sorted.
func stepNeeds(s *Step, index map[string]int) []int {
	var needs []int
	for _, in := range s.Inputs {
		if in.From.Step != "" {
			if j, ok := index[in.From.Step]; ok {
				needs = append(needs, j)
			}
		}
	}
	for _, addr := range s.DependsOn {
		if j, ok := index[addr]; ok {
			needs = append(needs, j)
		}
	}
	slices.Sort(needs)
	return slices.Compact(needs)
}

// reportStepCycles reports circles among the steps that still wait: from each, it
// follows a step still waiting that it needs until one comes again.
func (l *loader) reportStepCycles(steps []*Step, needs [][]int, waiting []int) {
	seen := make([]int, len(steps)) // 1 + where the walk began
	for start := range steps {
		if waiting[start] == 0 || seen[start] != 0 {
			continue
		}
		var path []int
		i := start
		for seen[i] == 0 {
			seen[i] = start + 1
			path = append(path, i)
			i = needs[i][slices.IndexFunc(needs[i], func(j int) bool { return waiting[j] > 0 })]
		}
		if seen[i] != start+1 {
			continue // runs into a circle that was reported
		}
		circle := path[slices.Index(path, i):]
		first := slices.Index(circle, slices.Min(circle))
		circle = append(slices.Clone(circle[first:]), circle[:first]...)
		addrs := make([]string, len(circle))
		for k, j := range circle {
			addrs[k] = steps[j].Addr
		}
		s := steps[circle[0]]
		l.report(problem(s.Range, s.Range, "Cycle of steps", "%s needs itself: %s. Break the circle at one of them.", s.Addr, cyclePath(addrs)))
	}
}

type intHeap []int

func (h intHeap) Len() int           { return len(h) }
func (h intHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h intHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *intHeap) Push(x any)        { *h = append(*h, x.(int)) }
func (h *intHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

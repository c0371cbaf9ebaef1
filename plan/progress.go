package plan

// Progress is how far one ware has come.
type Progress struct {
	Ware  string // address
	Phase Phase
	Done  int64 // bytes
	Total int64 // bytes; -1 if not known
	End   bool  // the phase has ended, with Err if not well
	Err   error
}

// A Phase is what is being done to a ware.
type Phase string

// The phases of a ware. A url is fetched, then unpacked; a path is scanned, and put
// into the warehouse when a step needs it.
const (
	PhaseScan   Phase = "scan"
	PhaseFetch  Phase = "fetch"
	PhaseUnpack Phase = "unpack"
	PhaseStore  Phase = "store"
)

// report makes the progress function of one phase of one ware.
func (src *sources) report(addr string, phase Phase) progressFunc {
	if src.o.Progress == nil {
		return nil
	}
	return func(done, total int64) { src.send(Progress{Ware: addr, Phase: phase, Done: done, Total: total}) }
}

func (src *sources) end(addr string, phase Phase, err error) {
	src.send(Progress{Ware: addr, Phase: phase, Total: -1, End: true, Err: err})
}

func (src *sources) send(p Progress) {
	if src.o.Progress != nil {
		src.progress.Lock()
		defer src.progress.Unlock()
		src.o.Progress(p)
	}
}

package main

import (
	"fmt"
	"strings"
	"time"
)

// barColumns is the width of a progress bar.
const barColumns = 24

// status is the live view: one line for each thing that is going on, and how many
// steps have ended.
func (s *story) status() []string {
	var lines []string
	now := s.clock()
	for _, act := range s.active {
		if now.Sub(act.since) < s.patience {
			continue
		}
		lines = append(lines, s.activityLine(act, now))
	}
	if s.total > 0 && len(lines) > 0 {
		lines = append(lines, dim.on(s.color, fmt.Sprintf("%d of %s ended", s.ended, count(s.total, "step"))))
	}
	return lines
}

func (s *story) activityLine(act *activity, now time.Time) string {
	text := fmt.Sprintf("%-*s  %s", s.width, harmless(act.name, false), cyan.on(s.color, act.doing))
	if act.total != 0 {
		text += "  " + progressText(act.done, act.total)
	}
	if rate := act.speed.rate; rate > 0 {
		text += ", " + byteSize(int64(rate)) + "/s"
	}
	return text + dim.on(s.color, "  "+elapsed(now.Sub(act.since)))
}

// A speedometer tells how fast something goes of late: each half second counts for a
// third, so that what was a few seconds ago is forgotten.
type speedometer struct {
	rate  float64 // bytes a second; 0: not known yet
	done  int64
	since time.Time
}

func (s *speedometer) at(done int64, now time.Time) {
	took := now.Sub(s.since)
	switch {
	case s.since.IsZero() || done < s.done: // it begins, or begins again
		*s = speedometer{done: done, since: now}
	case took >= time.Second/2:
		rate := float64(done-s.done) / took.Seconds()
		if s.rate > 0 {
			rate = s.rate*2/3 + rate/3
		}
		*s = speedometer{rate, done, now}
	}
}

// elapsed is coarser than seconds, so that the view is drawn ten times less often.
func elapsed(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%ds", int(d.Seconds()))
	}
	return seconds(d)
}

// progressText shows bytes done of a total, -1 if that is not known.
func progressText(done, total int64) string {
	if total < 0 {
		return byteSize(done)
	}
	n := int(min(done, total) * barColumns / max(total, 1))
	return fmt.Sprintf("[%s%s] %s of %s", strings.Repeat("#", n), strings.Repeat(".", barColumns-n), byteSize(done), byteSize(total))
}

// byteSize shows n bytes in units of 1024.
func byteSize(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n)/1024, 0
	for f >= 1024 && unit < 4 {
		f /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTP"[unit])
}

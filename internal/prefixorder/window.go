package prefixorder

import "iter"

// window holds jobs of one group until it is known how many others follow them. Its memory is bounded by the limits of a group.
type window struct {
	jobs  []Job
	bytes int // payloads of all jobs but the first
}

// add takes the next job. joins reports whether it is in the group of the job before. It yields the jobs whose rest is known now.
func (w *window) add(next Job, joins bool) iter.Seq[Job] {
	return func(yield func(Job) bool) {
		if !joins {
			for job := range w.flush() {
				if !yield(job) {
					return
				}
			}
		}
		for len(w.jobs) > 0 && (len(w.jobs) > maxRest || w.bytes+len(next.Payload) > maxRestBytes) {
			if !yield(w.first()) {
				return
			}
		}
		if len(w.jobs) > 0 {
			w.bytes += len(next.Payload)
		}
		w.jobs = append(w.jobs, next)
	}
}

// flush ends the group and yields its jobs.
func (w *window) flush() iter.Seq[Job] {
	return func(yield func(Job) bool) {
		for len(w.jobs) > 0 {
			if !yield(w.first()) {
				return
			}
		}
	}
}

// first removes the first job. All others in the window are its rest.
func (w *window) first() Job {
	job := w.jobs[0]
	w.jobs[0] = Job{} // frees its payload
	w.jobs = w.jobs[1:]
	job.Rest = int64(len(w.jobs))
	if len(w.jobs) > 0 {
		w.bytes -= len(w.jobs[0].Payload)
	}
	return job
}

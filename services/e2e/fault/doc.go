// Package fault runs Doorstep on real servers under load while its processes and servers are killed,
// stopped, paused and emptied by a plan, and checks what producers and receivers saw against what was
// promised: nothing acknowledged is lost, bodies are identical, retries keep their tiers' times, and what
// is sent twice is within the bound.
//
// A seed makes the plan; the same seed makes the same plan again.
package fault

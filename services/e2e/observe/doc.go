// Package observe holds the metrics of a whole Doorstep, the dashboard, the alert rules and the runbook against one another: names and
// labels, and what every query answers when a real Prometheus scrapes.
package observe

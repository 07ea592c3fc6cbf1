// Package grafana holds the files with which Grafana shows Gatehouse's reports:
// provisioning and dashboards. It has no code but the test that holds every
// address, parameter and column in them against the API's own description.
package grafana

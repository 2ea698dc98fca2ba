"""Every method against the same reference: metrics, suites, runner, report."""

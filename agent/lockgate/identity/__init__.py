"""From what the kernel saw to whom policy speaks of: Origin -> Workload -> Principal -> token."""

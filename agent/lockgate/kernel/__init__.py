"""All that touches the kernel: BPF objects, pins, cgroups, probes. Needs root."""

"""Value types every room may import: frozen, slotted, with no behaviour that touches the world."""

"""Policy: Cedar texts in, verdicts out. Deny by default, forbid overrides permit, an error is a refusal."""

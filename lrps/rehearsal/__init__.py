"""Self-synthesized rehearsal (SSR, Huang et al., ACL 2024): data that models write after an earlier version."""

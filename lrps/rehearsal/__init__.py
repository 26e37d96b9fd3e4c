"""Self-synthesized rehearsal (SSR, Huang et al., ACL 2024): data of an earlier version, written by models."""

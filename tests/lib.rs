//! Oracles and generators shared by the integration tests.

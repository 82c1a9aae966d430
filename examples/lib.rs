//! Programs that use regraft; each is an example target of this package.

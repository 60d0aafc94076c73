//! Settings: defaults, TOML file, environment, flags; converted once into validated types.

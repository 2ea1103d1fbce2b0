//! settings
mod number;

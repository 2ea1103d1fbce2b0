//! The admin listener: routes, limits, hostile clients.

mod harness;
mod metrics;
mod routes;

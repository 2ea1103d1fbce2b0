//! The admin listener: routes, limits, hostile clients.

mod harness;
mod routes;

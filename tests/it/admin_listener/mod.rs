//! The admin listener: routes, access, limits, viewers; every limit with a client that goes beyond it.

mod access;
mod harness;
mod limits;
mod metrics;
mod options;
mod program;
mod routes;
mod viewers;

//! The admin listener: routes, access, limits, viewers; every limit with a client that goes beyond it.

mod access;
mod dashboard;
mod harness;
mod limits;
mod metrics;
mod options;
mod page;
mod program;
mod routes;
mod viewers;

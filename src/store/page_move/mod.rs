//! Page moves: emptying a page of one class and giving it to another class, to the global pool, or back to the same
//! class to be divided into chunks of another size. Called by `maint`, through `Store`.

pub(in crate::store) mod rescue;

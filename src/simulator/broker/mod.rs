//! Histories of whole brokers, each from a seed: several lives of a process with one to four cores over one
//! disk, driven by clients through the simulated network.
//!
//! Clients outlive the broker. Each keeps to what Kafka's clients do, tells the model what it sent and was
//! told, and holds every answer against it. A request whose answer is lost may have been done or not, and may
//! be done late: the model allows either until the next life shows which.
//!
//! - `history`: the plan of a history and its drive
//! - `host`: what is looked at inside of the process, where no client can
//! - `link`: a client's connection; `world`: what clients share
//! - `admin`, `producer`, `consumer`: who works on the broker; `defaults`: who sets what it uses by default;
//!   `mover`: who has partitions change cores
//! - `model`: what was promised of topics; `records`: of one partition's records
//! - `groups`: consumer groups, their members and offsets, in some of the histories

mod admin;
mod consumer;
mod defaults;
mod groups;
mod history;
mod host;
mod link;
mod model;
mod mover;
mod producer;
mod records;
mod world;

#[cfg(test)]
mod tests;

//! A whole city on one machine: one hub and its districts as separate processes, on a generated or a real catalogue.
//!
//! [`city`] starts and stops the processes and goes through the real enrolment; [`source`] says who the districts are
//! and what they import; [`report`] compares node and hub; [`run`] is the program.

pub mod city;
pub mod generate;
pub mod report;
pub mod run;
pub mod source;

//! An event of an engine, taken from `tracing`.

use std::fmt;
use tracing::Event;
use tracing::field::{Field, Visit};

/// What an event says.
#[derive(Debug, Default)]
pub struct Fields {
    /// What happened: one word.
    pub what: String,
    pub function: String,
    pub unit: String,
    pub tier: Option<u64>,
    /// How long it took, up to when it was told.
    pub micros: u64,
}

impl Fields {
    pub fn of(event: &Event<'_>) -> Self {
        let mut fields = Self::default();
        event.record(&mut fields);
        fields
    }

    /// The function, or what of it.
    pub fn part(&self) -> String {
        match &*self.unit {
            "" | "the function" => self.function.clone(),
            unit => format!("{}, {unit}", self.function),
        }
    }

    /// What a viewer writes on its bar or mark.
    pub fn title(&self) -> String {
        let part = self.part();
        match (&*self.what, self.tier) {
            ("compiled", Some(tier)) => format!("{part}, tier {tier}"),
            ("compiled", None) => part,
            (what, _) => format!("{what}: {part}"),
        }
    }
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "tier" => self.tier = Some(value),
            "micros" => self.micros = value,
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "function" => self.function = value.to_string(),
            "unit" => self.unit = value.to_string(),
            "message" => self.what = value.to_string(),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

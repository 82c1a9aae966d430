//! The data of a [`Report`]: its version, and every field, is described in `core/report.schema.json`.
//!
//! Not here: how an engine makes one (`reporting`).

mod account;
mod detail;
mod format;
mod interface;
#[cfg(feature = "json")]
mod json;
mod memory;
mod names;

pub use account::{AccountReport, ThreadReport};
pub use detail::{BlockReport, CodeReport, DetailReport, EdgeReport, EventReport, EventsReport};
pub use format::{
    ExitReport, FunctionReport, IrreducibleReport, LiveInReport, LiveOutReport, PartReport,
    PassReport, REPORT_VERSION, RegionReport, Report, SavedProfileReport, SideExitReport,
    TimesReport, VersionReport, WarmStartReport, WorkersReport,
};
pub use interface::{report_exits, report_live_ins, report_live_outs};
pub use memory::{MemoryReport, RangeReport, TierMemoryReport};
pub use names::{
    EventKind, ExitKind, PartDecision, PartState, Phase, RegionKind, SavedState, SideExitState,
};

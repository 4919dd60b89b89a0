//! What commands print of the whole city.

use liandong_server::{clock, output::Output, site::CityStatus};

fn moment(ms: Option<i64>) -> String {
    ms.map_or_else(|| "—".to_owned(), clock::format_shanghai)
}

/// Prints how current the city is here, and why it is not.
pub(super) fn status(city: &CityStatus, output: Output) {
    output.line(&format!(
        "全市 city：{} 条，{}{}，截至 as of {}，根 {}，中心数据流 hub feed {}，不可信 refused {}",
        city.records,
        if city.complete { "完整 complete" } else { "不完整 incomplete" },
        if city.stale { "，可能已过时 stale" } else { "" },
        moment(city.as_of),
        city.root.short(),
        city.hub_seq,
        city.refused,
    ));
    if let Some(explain) = &city.explain {
        output.line(explain);
    }
}

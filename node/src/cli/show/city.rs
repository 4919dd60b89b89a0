//! What commands print of the whole city.

use liandong_server::{clock, output::Output, site::CityStatus};

use crate::city::CityFound;

fn moment(ms: Option<i64>) -> String {
    ms.map_or_else(|| "—".to_owned(), clock::format_shanghai)
}

/// Prints what was found in the city, and as of when.
pub(super) fn found(found: &CityFound, output: Output) {
    let rows: Vec<Vec<String>> = found
        .hits
        .iter()
        .map(|hit| {
            let age = if hit.stale { "可能过时 stale" } else { "" };
            let district = format!("{}（{}）", hit.district, hit.code);
            vec![hit.title.clone(), district, moment(hit.as_of), age.to_owned(), hit.id.to_string()]
        })
        .collect();
    let head = ["标题 Title", "区 District", "数据截至 As of", "", "编号 Id"];
    output.table(&head, &rows);
    output.line(&format!("共 {} 条 / {} in all", found.total, found.total));
    let whole = if found.complete { "完整 complete" } else { "不完整 incomplete" };
    let age = if found.stale { "，可能已过时 stale" } else { "" };
    output.line(&format!("全市副本 replica：{whole}，截至 as of {}{age}", moment(found.as_of)));
    if let Some(explain) = &found.explain {
        output.line(explain);
    }
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

//! Pages of reports from whom nobody trusts, and of very large ones.

use regraft_page::{Limits, PageError, page};
use serde_json::{Value, json};

fn part(state: &str) -> Value {
    json!({
        "decision": "none", "reason": "", "reason_code": "", "state": state, "found_by": "", "requests": 0,
        "formations": 0, "hot_blocks": [], "side_exits": [], "settled": "",
    })
}

fn function(blocks: usize) -> Value {
    let list: Vec<Value> = (0..blocks)
        .map(|at| {
            let to: Vec<Value> = [at + 1, at / 2 * 2, at * 7 % blocks]
                .iter()
                .filter(|&&to| to < blocks)
                .map(|to| json!({ "to": format!("block{to}"), "count": at }))
                .collect();
            json!({ "name": format!("block{at}"), "count": at, "instructions": 3, "loop_depth": 1, "to": to })
        })
        .collect();
    json!({
        "instructions": blocks * 3, "blocks": blocks, "tier": 0, "definition_error": null, "entries": 1,
        "saved_profile": null, "whole_function": part("cold"), "versions": [], "compile_micros": {}, "regions": [],
        "irreducible": [], "detail": { "clif": "function %f() {\nblock0:\n    return\n}\n", "blocks": list },
    })
}

fn report(functions: Value) -> Value {
    json!({
        "version": 2, "mode": "tiered", "detection": "counters", "target": "x86_64-unknown-linux-gnu",
        "workers": { "threads": 1, "jobs": 1, "panics": 0, "queued": 0 },
        "memory": { "tiers": {} }, "functions": functions,
    })
}

fn page_of(report: &Value) -> String {
    page(&report.to_string(), "a report", &Limits::default()).expect("it is a report")
}

/// What the page's script gets.
fn data(page: &str) -> Value {
    let from = page.find("id=\"report\">").expect("there are data") + "id=\"report\">".len();
    let to = from + page[from..].find("</script>").expect("they end");
    serde_json::from_str(&page[from..to]).expect("they are JSON")
}

fn refusal(text: &str) -> String {
    match page(text, "a report", &Limits::default()) {
        Ok(_) => panic!("it is taken for a report"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn nothing_of_a_report_is_markup() {
    let evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>&amp;\u{2028}'\"`";
    let mut with_text = function(3);
    with_text["detail"]["clif"] = evil.into();
    with_text["detail"]["blocks"][1]["name"] = evil.into();
    with_text["definition_error"] = evil.into();
    let mut report = report(json!({ evil: with_text }));
    report["target"] = evil.into();
    report["mode"] = evil.into();
    report["events"] = json!({ "left_out": 0, "list": [
        { "at_micros": 1, "micros": 0, "thread": evil, "event": evil, "function": evil, "unit": evil, "tier": null },
    ]});
    let page = page(&report.to_string(), evil, &Limits::default()).expect("it is a report");
    // The page's own two scripts, and nothing that begins or ends like one.
    let plain = page_of(&self::report(json!({})));
    for what in ["<script", "</script", "<img", "onerror=alert(1)>"] {
        assert_eq!(
            page.matches(what).count(),
            plain.matches(what).count(),
            "{what}"
        );
    }
    assert_eq!(data(&page)["functions"][0]["name"], evil);
    assert_eq!(data(&page)["title"], evil);
}

#[test]
fn what_is_no_report_is_refused_with_its_place() {
    for (text, place) in [
        ("", "line 1 column 0"),
        ("{\n  \"version\": 2,\n  oops }", "line 3 column 3"),
        ("{ \"a\": 1 }", "line 1 column 10"),
        ("[1, 2]", "line 1 column"),
        ("{\n\"version\": 2, \"mode\": 7 }", "line 2 column 23"),
        ("{\n\n  \"version\": 3 }", "line 3, column 14"),
    ] {
        let said = refusal(text);
        assert!(said.contains(place), "{text}: {said}");
    }
    let mut other = report(json!({}));
    other["version"] = 1.into();
    let error = page(&other.to_string(), "a report", &Limits::default());
    assert!(matches!(
        error,
        Err(PageError::Version {
            found: 1,
            known: 2,
            ..
        })
    ));
}

#[test]
fn a_report_that_was_cut_off_is_refused() {
    let text = report(json!({ "f": function(4) })).to_string();
    for end in 0..text.len() {
        refusal(&text[..end]);
    }
}

#[test]
fn of_many_functions_the_hottest_are_shown() {
    let mut functions = serde_json::Map::new();
    for at in 0..100_000 {
        let mut one = function(2);
        one["detail"]["blocks"][0]["count"] = at.into();
        functions.insert(format!("f{at}"), one);
    }
    let page = page_of(&report(functions.into()));
    let data = data(&page);
    let limits = Limits::default();
    assert_eq!(
        data["functions"].as_array().map(Vec::len),
        Some(limits.rows)
    );
    assert_eq!(data["functions"][0]["name"], "f99999");
    assert_eq!(data["left_out"]["functions"], 100_000 - limits.rows);
    assert_eq!(data["left_out"]["details"], 100_000 - limits.functions);
    assert_eq!(data["totals"]["functions"], 100_000);
    assert!(page.len() < 2 << 20, "{} bytes", page.len());
}

#[test]
fn of_a_large_graph_the_hot_part_is_drawn() {
    let data = data(&page_of(&report(json!({ "f": function(5_000) }))));
    let graph = &data["functions"][0]["graph"];
    let nodes = graph["nodes"].as_array().expect("it is drawn");
    assert_eq!(nodes.len(), Limits::default().blocks);
    assert_eq!(graph["left_out"], 5_000 - nodes.len());
    assert_eq!(nodes[0]["name"], "block0");
    assert_eq!(nodes[1]["name"], format!("block{}", 5_001 - nodes.len()));
    let hidden: u64 = nodes
        .iter()
        .filter_map(|node| node["hidden"].as_u64())
        .sum();
    assert!(hidden > 0);
}

#[test]
fn graphs_are_drawn_until_it_is_enough() {
    let functions: serde_json::Map<_, _> = (0..60)
        .map(|at| (format!("f{at}"), function(100)))
        .collect();
    let data = data(&page_of(&report(functions.into())));
    let functions = data["functions"].as_array().expect("there are functions");
    let drawn = functions.iter().filter(|f| !f["graph"].is_null());
    assert_eq!(drawn.count(), Limits::default().drawn / 10_000);
}

#[test]
fn blocks_have_places_of_their_own() {
    let data = data(&page_of(&report(json!({ "f": function(80) }))));
    let nodes = data["functions"][0]["graph"]["nodes"]
        .as_array()
        .expect("it is drawn")
        .clone();
    let of = |node: &Value, what: &str| node[what].as_f64().expect("a number");
    for (at, a) in nodes.iter().enumerate() {
        for b in &nodes[at + 1..] {
            let apart = (of(a, "y") - of(b, "y")).abs() >= 40.0
                || (of(a, "x") - of(b, "x")).abs() >= (of(a, "w") + of(b, "w")) / 2.0;
            assert!(apart, "{a} and {b} overlap");
        }
    }
}

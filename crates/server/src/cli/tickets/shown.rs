//! Tickets, plan and notes as people read them in a terminal.

use serde_json::Value;

use super::super::service::{items, minute, rounded, table, text};

/// A ticket in a line.
pub(super) fn stands(t: &Value) -> String {
    let technician = text(t, "technician");
    let technician = if technician.is_empty() {
        String::new()
    } else {
        format!(", {technician}")
    };
    format!(
        "T-{}  {}  {}{technician}, due {} UTC: {}\n",
        text(t, "id"),
        text(t, "priority"),
        text(t, "state"),
        minute(t, "due_at"),
        text(t, "title")
    )
}

/// The plan, a line per visit.
pub(super) fn planned(plan: &Value) -> String {
    let mut rows = Vec::new();
    let mut add = |who: String, row: &Value, time: [String; 2]| {
        let t = &row["ticket"];
        let [start, end] = time;
        rows.push([
            who,
            start,
            end,
            format!("T-{}", text(t, "id")),
            text(t, "priority"),
            text(t, "state"),
            text(t, "asset_id"),
            text(t, "title"),
        ]);
    };
    for tour in items(plan, "technicians") {
        for visit in items(tour, "visits") {
            let late = if text(visit, "late") == "true" {
                " late"
            } else {
                ""
            };
            let end = format!("{}{late}", minute(visit, "end_at"));
            add(
                text(tour, "technician"),
                visit,
                [minute(visit, "start_at"), end],
            );
        }
    }
    for ticket in items(plan, "unplanned") {
        add(
            "nobody".to_owned(),
            ticket,
            [text(ticket, "why"), String::new()],
        );
    }
    if rows.is_empty() {
        return "no open ticket\n".to_owned();
    }
    let titles = [
        "technician",
        "begins (UTC)",
        "ends (UTC)",
        "ticket",
        "prio",
        "state",
        "asset",
        "title",
    ];
    table(titles, rows)
}

/// Notes, time and files of a ticket, a line or more each.
pub(super) fn notes(page: &Value) -> String {
    let mut out = String::new();
    for e in items(page, "items") {
        let body = match text(e, "entry").as_str() {
            "time" => format!("{} min {}", text(e, "minutes"), text(e, "what")),
            "attachment" => {
                let signed = text(e, "signed_by");
                let signed = if signed.is_empty() {
                    signed
                } else {
                    format!(", signed by {signed}")
                };
                format!(
                    "file {}, {} bytes{signed}",
                    text(e, "name"),
                    text(e, "bytes")
                )
            }
            _ => text(e, "text"),
        };
        let public = if text(e, "visibility") == "public" {
            ", public"
        } else {
            ""
        };
        out.push_str(&format!(
            "{} UTC  {} ({}{public}): {}\n",
            minute(e, "at"),
            text(e, "by"),
            text(e, "channel"),
            body.trim_end()
        ));
    }
    if out.is_empty() {
        out.push_str("none yet\n");
    }
    out
}

/// A ticket as people read it.
pub(super) fn shown(t: &Value) -> String {
    let mut out = stands(t);
    let mut add = |name: &str, value: String| {
        if !value.is_empty() {
            out.push_str(&format!("{name:<12} {value}\n"));
        }
    };
    add("kind", text(t, "kind"));
    add("mode", text(t, "mode"));
    add("asset", text(t, "asset_id"));
    let place: Vec<&str> = items(t, "place").iter().filter_map(Value::as_str).collect();
    add("place", place.join(" > "));
    if let Some(customer) = t.get("customer").filter(|c| !c.is_null()) {
        let contract = text(customer, "contract_id");
        let contract = if contract.is_empty() {
            "no contract".to_owned()
        } else {
            format!("contract {contract}")
        };
        add(
            "customer",
            format!(
                "{} ({}), tier {}, {contract}",
                text(customer, "name"),
                text(customer, "id"),
                text(customer, "tier")
            ),
        );
        for contact in items(customer, "contacts") {
            let ways: Vec<String> = items(contact, "channels")
                .iter()
                .map(|c| format!("{} {}", text(c, "kind"), text(c, "address")))
                .collect();
            add(
                "contact",
                format!(
                    "{} {}: {}",
                    text(contact, "name"),
                    text(contact, "role"),
                    ways.join(", ")
                ),
            );
        }
    }
    add("opened", minute(t, "opened_at"));
    for clock in items(t, "sla") {
        let due = minute(clock, "due_at");
        let due = if due.is_empty() {
            String::new()
        } else {
            format!(", due {due} UTC")
        };
        add(
            "clock",
            format!("{} {}{due}", text(clock, "clock"), text(clock, "state")),
        );
    }
    if let Some(report) = t.get("report").filter(|r| !r.is_null()) {
        add("reported", text(report, "description"));
    }
    for (i, line) in items(t, "checklist").iter().enumerate() {
        let required = line.get("required").and_then(Value::as_bool) == Some(true);
        let is_done = !text(line, "done_at").is_empty();
        let mark = match (is_done, required) {
            (true, _) => "[x]",
            (false, true) => "[ ] required:",
            (false, false) => "[ ]",
        };
        add(
            "checklist",
            format!("{} {mark} {}", i + 1, text(line, "text")),
        );
    }
    if let Some(fields) = t.get("fields").and_then(Value::as_object) {
        for name in fields.keys() {
            add("field", format!("{name} = {}", text(&t["fields"], name)));
        }
    }
    if let Some(p) = t.get("proposal").filter(|p| !p.is_null()) {
        let visit = |c: &Value| {
            format!(
                "{}, {} to {} UTC",
                text(c, "technician"),
                minute(c, "start_at"),
                minute(c, "end_at")
            )
        };
        match p.get("assigned").filter(|a| !a.is_null()) {
            Some(assigned) => add("planned", visit(assigned)),
            None => add("planned", "nobody".to_owned()),
        }
        add("", text(p, "why"));
        for candidate in items(p, "candidates") {
            add("or", visit(candidate));
        }
        for rejected in items(p, "rejected") {
            add(
                "not",
                format!(
                    "{}: {}",
                    text(rejected, "technician"),
                    text(rejected, "why")
                ),
            );
        }
    }
    for r in items(t, "reservations") {
        add(
            "part",
            format!(
                "{} x {} {}, ready {} UTC",
                text(r, "quantity"),
                text(r, "part"),
                text(r, "state"),
                minute(r, "available_at")
            ),
        );
    }
    if let Some(cost) = t.get("cost").filter(|c| !c.is_null()) {
        let total = cost.get("total").and_then(Value::as_f64).unwrap_or(0.0);
        add(
            "cost so far",
            format!(
                "{} {}: {}",
                rounded(total),
                text(cost, "currency"),
                text(cost, "why")
            ),
        );
    }
    for c in items(t, "history") {
        let why = text(c, "why");
        let why = if why.is_empty() {
            why
        } else {
            format!(": {why}")
        };
        add(
            &minute(c, "at"),
            format!(
                "  {} by {} ({}){why}",
                text(c, "to"),
                text(c, "by"),
                text(c, "channel")
            ),
        );
    }
    let next: Vec<&str> = items(t, "can_become")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    add("can become", next.join(", "));
    out
}

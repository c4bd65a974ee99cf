//! What always holds between records.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panicking"
)]

use std::collections::BTreeMap;

use forecare_catalogue::Catalogue;
use forecare_domain::Timestamp;
use forecare_registry::{
    AssetDetails, Body, Change, Known, OutcomeKind, Person, Placement, RecordFaultKind, RecordId,
    RecordKind, RecordRef, RecordWrite, Stored, TierRule, TierRules, erase, needs, plan, seed,
};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

fn catalogue() -> Catalogue {
    Catalogue::parse(
        r#"
        [[class]]
        name = "pump"
        title = "Pump"
        horizon_hours = 24
        sample_interval_s = 60
        [[class.metric]]
        name = "vibration"
        unit = "mm/s"
        [[part]]
        number = "BRG-1"
        title = "Bearing"
        lead_time_hours = 48
        [[depot]]
        name = "main"
        title = "Main depot"
        transfer_hours = 12
        [[technician]]
        name = "Li Wei"
        skills = ["plc"]
        depot = "main"
        "#,
    )
    .unwrap()
}

fn id(text: &str) -> RecordId {
    RecordId::new(text).unwrap()
}

fn put(kind: RecordKind, name: &str, body: Value) -> RecordWrite {
    RecordWrite {
        kind,
        id: id(name),
        if_version: None,
        change: Change::Put(Box::new(Body::read(kind, body).unwrap())),
    }
}

fn delete(kind: RecordKind, name: &str) -> RecordWrite {
    RecordWrite {
        kind,
        id: id(name),
        if_version: None,
        change: Change::Delete,
    }
}

fn location(name: &str, level: &str, parent: Option<&str>) -> RecordWrite {
    let body = json!({"name": name, "level": level, "parent": parent});
    put(RecordKind::Location, name, body)
}

/// A store of the least kind: everything is known.
#[derive(Default)]
struct World(Known);

impl World {
    fn apply(&mut self, writes: &[RecordWrite]) -> Result<Vec<OutcomeKind>, Vec<String>> {
        // Only what is asked for is given: so that `needs` asks for enough.
        let needs = needs(writes);
        let refers = |body: &Body| {
            let mut all = body.references().into_iter();
            all.any(|(_, target)| needs.referrers_of.contains(&target))
        };
        let asked = self.0.records.iter().filter(|(key, stored)| {
            needs.records.contains(key) || stored.body.as_ref().is_some_and(refers)
        });
        let known = Known {
            records: asked.map(|(k, s)| (k.clone(), s.clone())).collect(),
            assets: self.0.assets.intersection(&needs.assets).cloned().collect(),
        };
        let done = plan(writes, &known, &catalogue());
        let plan = done.map_err(|faults| -> Vec<String> {
            let text = |f: &forecare_registry::RecordFault| {
                format!("{} {}: {}", f.index, f.field, f.detail)
            };
            faults.iter().map(text).collect()
        })?;
        for row in plan.rows {
            let stored = Stored {
                version: row.version,
                body: row.body,
            };
            self.0.records.insert(row.record, stored);
        }
        Ok(plan.outcomes.iter().map(|o| o.kind).collect())
    }

    /// Every reference is to what is there, and following parents ends.
    fn check(&self) {
        let live: BTreeMap<&RecordRef, &Body> = self
            .0
            .records
            .iter()
            .filter_map(|(key, stored)| Some((key, stored.body.as_ref()?)))
            .collect();
        for (key, body) in &live {
            for (field, target) in body.references() {
                let there = live.contains_key(&target) || target.kind == RecordKind::Asset;
                assert!(
                    there,
                    "{key}.{field} refers to {target}, which is not there"
                );
            }
            let mut at = (*key).clone();
            for step in 0.. {
                assert!(step < 5, "{key} lies deeper than there are levels");
                let Some(Body::Location(here)) = live.get(&at) else {
                    break;
                };
                let Some(parent) = &here.parent else { break };
                at = RecordRef::new(RecordKind::Location, parent.clone());
            }
        }
    }
}

const LEVELS: [&str; 5] = ["enterprise", "site", "area", "line", "unit"];

proptest! {
    /// Whatever is tried, singly or in lists, the locations are a forest and nothing refers to nothing.
    #[test]
    fn locations_are_a_tree_whatever_is_tried(
        lists in vec(vec((0_usize..8, 0_usize..5, prop::option::of(0_usize..8), any::<bool>()), 1..5), 1..30)
    ) {
        let mut world = World::default();
        for list in lists {
            let writes: Vec<RecordWrite> = list.into_iter().map(|(name, level, parent, gone)| {
                let name = format!("l{name}");
                if gone {
                    delete(RecordKind::Location, &name)
                } else {
                    let parent = parent.map(|p| format!("l{p}"));
                    location(&name, LEVELS[level], parent.as_deref())
                }
            }).collect();
            world.apply(&writes).ok();
            world.check();
        }
    }

    /// Positions that are accepted hold one at a time.
    #[test]
    fn an_asset_stands_in_one_place_at_a_time(
        spans in vec((0_i64..40, prop::option::of(0_i64..40)), 0..5)
    ) {
        let positions: Vec<Placement> = spans.iter().enumerate().map(|(i, (from, to))| Placement {
            location: id(&format!("l{i}")),
            from: Timestamp::from_millis(*from),
            to: to.map(Timestamp::from_millis),
        }).collect();
        let details = AssetDetails { positions: positions.clone(), ..AssetDetails::default() };
        let is_accepted = Body::Asset(details.clone()).faults().0.is_empty();
        let places = |at: i64| positions.iter().filter(|p| p.holds_at(Timestamp::from_millis(at))).count();
        if is_accepted {
            for at in -1..42 {
                prop_assert!(places(at) <= 1);
                let found = details.position_at(Timestamp::from_millis(at));
                prop_assert_eq!(found.is_some(), places(at) == 1);
            }
        } else {
            let in_order = positions.windows(2).all(|w| w[0].to.is_some_and(|to| to <= w[1].from));
            let each_ends = positions.iter().all(|p| p.to.is_none_or(|to| to > p.from));
            prop_assert!(!in_order || !each_ends, "refused without need");
        }
    }
}

#[test]
fn a_whole_tree_comes_in_one_list_in_any_order() {
    let mut world = World::default();
    let writes = [
        location("u", "unit", Some("s")),
        location("s", "site", Some("e")),
        location("e", "enterprise", None),
    ];
    let created = [OutcomeKind::Created; 3];
    assert_eq!(world.apply(&writes).unwrap(), created);
    assert_eq!(world.apply(&writes).unwrap(), [OutcomeKind::Unchanged; 3]);
    let refused = world
        .apply(&[location("s", "unit", Some("e"))])
        .unwrap_err();
    assert!(
        refused[0].contains("location \"u\", a unit, lies in it"),
        "{refused:?}"
    );
    let refused = world
        .apply(&[delete(RecordKind::Location, "s")])
        .unwrap_err();
    assert!(
        refused[0].contains("location \"u\" refers to it"),
        "{refused:?}"
    );
    let both = [
        delete(RecordKind::Location, "s"),
        delete(RecordKind::Location, "u"),
    ];
    assert_eq!(world.apply(&both).unwrap(), [OutcomeKind::Deleted; 2]);
    assert_eq!(world.apply(&both).unwrap(), [OutcomeKind::Unchanged; 2]);
    world.check();
}

#[test]
fn every_fault_of_a_list_is_told_and_nothing_is_stored() {
    let mut world = World::default();
    let contract = json!({
        "customer": "nobody", "kind": "full-service", "valid_from": "2026-01-01",
        "coverage": {"assets": ["p9"], "classes": ["fan"]}, "includes": {"parts": ["NO-1"]},
        "targets": [{"priority": "P1", "response_hours": 4, "resolution_hours": 2}]
    });
    let writes = [
        put(RecordKind::Customer, "c1", json!({"name": "Fine"})),
        put(RecordKind::Contract, "k1", contract),
        put(RecordKind::Asset, "p9", json!({"serial": "S-1"})),
        put(RecordKind::Customer, "c1", json!({"name": "Again"})),
    ];
    let refused = world.apply(&writes).unwrap_err();
    for text in [
        "1 customer: customer \"nobody\" is not there",
        "1 coverage.assets[0]: asset \"p9\" is not registered",
        "1 coverage.classes[0]: the catalogue has no class \"fan\"",
        "1 includes.parts[0]: the catalogue has no part \"NO-1\"",
        "1 targets[0].resolution_hours: is less than response_hours",
        "2 id: no such asset is registered",
        "3 id: comes twice: the first is number 1",
    ] {
        assert!(
            refused.iter().any(|r| r.starts_with(text)),
            "{text} in {refused:#?}"
        );
    }
    assert!(world.0.records.is_empty());
}

#[test]
fn a_version_that_moved_on_is_told() {
    let customer = |name: &str, if_version| RecordWrite {
        if_version,
        ..put(RecordKind::Customer, "c1", json!({"name": name}))
    };
    let mut world = World::default();
    world.apply(&[customer("A", Some(0))]).unwrap();
    let writes = [customer("B", Some(0))];
    let refused = plan(&writes, &world.0, &catalogue()).unwrap_err();
    assert_eq!(refused[0].kind, RecordFaultKind::Version { current: 1 });
    world.apply(&[customer("B", Some(1))]).unwrap();
    world.apply(&[delete(RecordKind::Customer, "c1")]).unwrap();
    // A deleted record can come back; its versions go on.
    world.apply(&[customer("C", Some(0))]).unwrap();
    let key = RecordRef::new(RecordKind::Customer, id("c1"));
    assert_eq!(world.0.records[&key].version, 4);
}

#[test]
fn a_tier_comes_from_the_first_rule_that_holds_and_says_so() {
    let rule = |name: &str, yearly_value_min, kinds: &[&str]| TierRule {
        name: name.to_owned(),
        yearly_value_min,
        contract_kinds: kinds.iter().map(|k| (*k).to_owned()).collect(),
    };
    let rules = TierRules::new(vec![
        rule("gold", Some(100_000.0), &["full-service"]),
        rule("silver", Some(100_000.0), &[]),
        rule("silver", None, &["full-service"]),
        rule("standard", None, &[]),
    ])
    .unwrap();
    let tier = |yearly: f64, has_contract: bool, day: &str| {
        let body = json!({"name": "C", "value": {"yearly": yearly}});
        let Body::Customer(customer) = Body::read(RecordKind::Customer, body).unwrap() else {
            panic!("a customer")
        };
        let body = json!({"customer": "c", "kind": "full-service", "valid_from": "2026-01-01", "valid_to": "2026-12-31"});
        let Body::Contract(contract) = Body::read(RecordKind::Contract, body).unwrap() else {
            panic!("a contract")
        };
        let contracts: Vec<_> = has_contract
            .then(|| (id("k1"), contract))
            .into_iter()
            .collect();
        rules.tier(&customer, &contracts, day.parse().unwrap(), "EUR")
    };
    let gold = tier(250_000.0, true, "2026-06-01");
    assert_eq!((gold.name.as_str(), gold.rule), ("gold", 1));
    assert_eq!(
        gold.why,
        "rule 1 of 4: yearly value of 250000 EUR, at least 100000; contract k1 (full-service) is in force"
    );
    assert_eq!(tier(250_000.0, true, "2027-01-01").rule, 2);
    assert_eq!(tier(1.0, true, "2026-06-01").rule, 3);
    let last = tier(1.0, false, "2026-06-01");
    assert_eq!((last.name.as_str(), last.rule), ("standard", 4));

    assert!(TierRules::new(vec![rule("gold", Some(1.0), &[])]).is_err());
    assert!(TierRules::new(vec![rule("a", None, &[]), rule("b", None, &[])]).is_err());
    assert!(TierRules::new(Vec::new()).is_err());
}

#[test]
fn an_erased_person_is_in_no_version() {
    let body = json!({"name": "C", "contacts": [
        {"id": "p1", "name": "Ada", "channels": [{"kind": "email", "address": "ada@example.com"}]},
        {"id": "p2", "name": "Bo"}
    ]});
    let body = Body::read(RecordKind::Customer, body).unwrap();
    let after = erase(&body, &Person::Contact(id("p1"))).unwrap();
    let text = after.to_value().to_string();
    assert!(!text.contains("Ada") && !text.contains("ada@") && text.contains("Bo"));
    assert_eq!(erase(&after, &Person::Contact(id("p1"))), None);
    assert!(!body.searched(&id("c1")).contains("ada"));
    let technician = json!({"name": "Li Wei", "skills": ["plc"], "channels": [{"kind": "phone", "address": "123"}]});
    let technician = Body::read(RecordKind::Technician, technician).unwrap();
    let after = erase(&technician, &Person::Technician).unwrap();
    assert!(!after.to_value().to_string().contains("Li Wei"));
    assert_eq!(erase(&after, &Person::Technician), None);
}

#[test]
fn the_catalogue_gives_first_records() {
    let mut world = World::default();
    let writes = seed(&catalogue());
    assert_eq!(writes.len(), 2);
    assert_eq!(writes[1].id.as_str(), "li-wei");
    world.apply(&writes).unwrap();
    world.check();
}

#[test]
fn texts_that_databases_or_spreadsheets_would_bend_are_refused() {
    for name in ["", " a", "a ", "a\u{0}b", "a\tb", "a\nb"] {
        let body = Body::parse(RecordKind::Van, json!({ "name": name }));
        assert_eq!(body.unwrap_err().0[0].field, "name", "{name:?}");
    }
    let hours = |hours: Value| {
        let body = json!({"name": "c", "hours": hours});
        Body::parse(RecordKind::Calendar, body).map_err(|faults| faults.to_string())
    };
    hours(json!({"around_the_clock": true})).unwrap();
    let refused = hours(json!({"time_zone": "Mars/Olympus", "week": {"mon": ["08:00-12:00"]}}));
    assert!(
        refused
            .unwrap_err()
            .starts_with("hours: time_zone \"Mars/Olympus\"")
    );
    let refused =
        hours(json!({"time_zone": "UTC", "week": {"mon": ["08:00-12:00", "11:00-13:00"]}}));
    assert!(refused.unwrap_err().contains("overlap"));
}

//! Carries out what a rule comes to, each action once.

use forecare_api::StreamEvent;
use forecare_care::automation::{
    Command, Occasion, Offer, Rule, actor, chain_of, note_of_article, raised, sent_out, with_skill,
};
use forecare_care::dispatch::{Crew, assign};
use forecare_care::reporting::{About, OpenedByRule, open_by_rule};
use forecare_care::work::{WorkStep, work};
use forecare_domain::{
    Actor, Asset, AutomationMessage, CareLead, Notice, NoticeId, NoticeKind, Priority, Ticket,
    TicketId, Timestamp, Visibility,
};
use forecare_registry::{
    Article, ArticleState, Body, Change, Lead, LeadState, RecordFaultKind, RecordId, RecordKind,
    RecordRef, RecordWrite, plain_text,
};
use forecare_store::{
    CareCommit, CareOutcome, NewEntry, RecordCommit, RecordFilter, RecordPage, RecordsOutcome,
    StoreError, TicketWrite,
};
use sha2::{Digest, Sha256};
use tracing::{info, warn};

use super::scene::Surroundings;
use super::tally::Acted;
use crate::desk::CareDesk;

/// How often a change is tried anew where somebody was faster.
const TRIES_MAX: usize = 5;
/// Articles looked through.
const ARTICLES_MAX: usize = 20_000;
/// Characters of a subject in a lead's id.
const SUBJECT_CHARS: usize = 60;

/// What a rule acts on, and why.
pub(super) struct Case<'a> {
    pub(super) rule: &'a Rule,
    pub(super) occasion: &'a Occasion,
    /// What tells occasions of different machines apart; empty where their keys do.
    pub(super) subject: String,
    pub(super) led_by: &'a [String],
    pub(super) ticket: Option<TicketId>,
    pub(super) asset: Option<&'a Asset>,
    pub(super) around: &'a Surroundings,
    pub(super) now: Timestamp,
}

impl Case<'_> {
    fn key(&self, place: usize) -> String {
        let Self {
            rule,
            subject,
            occasion,
            ..
        } = self;
        format!(
            "automation/{}/{subject}/{}/{place}",
            rule.name, occasion.key
        )
    }

    fn by(&self) -> Actor {
        actor(&self.rule.name, self.led_by)
    }

    fn chain(&self) -> Vec<String> {
        let own = [self.rule.name.clone()];
        own.into_iter().chain(self.led_by.iter().cloned()).collect()
    }

    fn why(&self) -> String {
        format!("rule {}, {}", self.rule.name, self.occasion.what)
    }
}

/// What the store says of an action: a store that does not answer ends the round, anything else this action only.
fn settled(result: Result<Acted, StoreError>) -> Result<Acted, StoreError> {
    match result {
        Err(
            refused @ (StoreError::Conflict(_)
            | StoreError::NotFound(_)
            | StoreError::Corrupt { .. }),
        ) => Ok(Acted::Failed(refused.to_string())),
        other => other,
    }
}

impl CareDesk {
    /// Carries out `commands`, in order; those done before are left out.
    pub(super) async fn act(
        &self,
        case: &Case<'_>,
        commands: Vec<Command>,
    ) -> Result<(), StoreError> {
        let rule = &case.rule.name;
        for (place, command) in commands.into_iter().enumerate() {
            let key = case.key(place);
            let acted = if self.store.outcome(&key).await?.is_some() {
                Acted::Before
            } else {
                settled(self.carry_out(case, &command, &key, place).await)?
            };
            let (action, occasion) = (command.label(), &case.occasion.key);
            match &acted {
                Acted::Before => {}
                Acted::Done => info!(rule, action, occasion, "automation acted"),
                Acted::Skipped(why) => info!(rule, action, occasion, why, "automation let be"),
                Acted::Failed(why) => warn!(rule, action, occasion, why, "automation failed"),
            }
            self.automation.count(rule, &command, &acted, case.now);
        }
        Ok(())
    }

    async fn carry_out(
        &self,
        case: &Case<'_>,
        command: &Command,
        key: &str,
        place: usize,
    ) -> Result<Acted, StoreError> {
        match command {
            Command::Assign {
                technician,
                skill,
                send,
            } => {
                if let Some(who) = technician
                    && let Err(unknown) = self.known(who)
                {
                    return Ok(Acted::Failed(unknown.to_string()));
                }
                let change = |ticket: &Ticket| {
                    let (technician, skill) = (technician.as_deref(), skill.as_deref());
                    assigned(case, ticket, technician, skill, *send)
                };
                self.change(case, key, change).await
            }
            Command::Raise(to) => {
                let change = |ticket: &Ticket| {
                    raised(ticket, *to, case.by(), &case.why(), case.now)
                        .ok_or_else(|| "it is that urgent already, or over".to_owned())
                };
                self.change(case, key, change).await
            }
            Command::Note { text, to_customer } => {
                self.note(case, (key, place), text.clone(), *to_customer)
                    .await
            }
            Command::Article { id, to_customer } => {
                let Some(ticket) = case.ticket else {
                    return Ok(Acted::Skipped("there is no ticket".to_owned()));
                };
                let ticket = self.store.ticket(ticket).await?;
                let found = self.article(case, &ticket, id.as_deref(), *to_customer);
                let Some((id, article)) = found.await? else {
                    return Ok(Acted::Skipped("there is no such article".to_owned()));
                };
                // Nobody renders what customers are written.
                let (title, text) = (&article.title, plain_text(&article.text));
                let text = note_of_article(id.as_str(), title, &text, *to_customer);
                self.note(case, (key, place), text, *to_customer).await
            }
            Command::Open { .. } => self.open_for_rule(case, key, command).await,
            Command::Tell {
                to,
                text,
                subject,
                channels,
                survey,
            } => {
                let what = NoticeKind::AutomationMessage(AutomationMessage {
                    rule: case.rule.name.clone(),
                    text: text.clone(),
                    to: to.clone(),
                    channels: channels.clone(),
                    survey: *survey,
                    customer: case.around.customer.as_ref().map(|c| c.id.clone()),
                });
                self.say(case, key, place, what, subject.clone()).await
            }
            Command::Lead { offer, title, note } => {
                self.lead(case, (key, place), *offer, title, note).await
            }
        }
    }

    /// Changes the ticket as it is now, and once more where somebody was faster.
    async fn change(
        &self,
        case: &Case<'_>,
        key: &str,
        change: impl Fn(&Ticket) -> Result<Ticket, String>,
    ) -> Result<Acted, StoreError> {
        let Some(id) = case.ticket else {
            return Ok(Acted::Skipped("there is no ticket".to_owned()));
        };
        let mut tries = 0;
        loop {
            let before = self.store.ticket(id).await?;
            let mut after = match change(&before) {
                Ok(after) => after,
                Err(why) => return Ok(Acted::Skipped(why)),
            };
            let by = case.by();
            let signals = self.clocks().carry(&before, &mut after, &by, case.now);
            let commit = CareCommit {
                idempotency_key: Some(key.to_owned()),
                ticket: TicketWrite::Update {
                    ticket: Box::new(after),
                    parts_used: Vec::new(),
                },
                at: case.now,
                ..CareCommit::default()
            };
            tries += 1;
            match self.store.commit_care(commit).await {
                Ok(CareOutcome::Updated(stored)) => {
                    self.metrics.sla(&signals);
                    self.tell(StreamEvent::Ticket(stored));
                    return Ok(Acted::Done);
                }
                Ok(_) => return Ok(Acted::Before),
                Err(StoreError::Conflict(_)) if tries < TRIES_MAX => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Writes a note; one to the customer is told with it.
    async fn note(
        &self,
        case: &Case<'_>,
        (key, place): (&str, usize),
        text: String,
        to_customer: bool,
    ) -> Result<Acted, StoreError> {
        let Some(id) = case.ticket else {
            return Ok(Acted::Skipped("there is no ticket".to_owned()));
        };
        let ticket = self.store.ticket(id).await?;
        let visibility = if to_customer {
            Visibility::Public
        } else {
            Visibility::Internal
        };
        let told = to_customer.then(|| {
            let what = NoticeKind::AutomationMessage(AutomationMessage {
                rule: case.rule.name.clone(),
                text: text.clone(),
                to: vec!["@customer".to_owned()],
                channels: Vec::new(),
                survey: false,
                customer: case.around.customer.as_ref().map(|c| c.id.clone()),
            });
            notice_of(case, Some(&ticket), place, what, None)
        });
        let step = WorkStep::Note { text, visibility };
        let done = match work(&ticket, None, step, case.by(), case.now) {
            Ok(done) => done,
            Err(refused) => return Ok(Acted::Failed(refused.to_string())),
        };
        let entries = done.entries.into_iter();
        let commit = CareCommit {
            idempotency_key: Some(key.to_owned()),
            entries: entries
                .map(|(ticket, entry, content)| NewEntry {
                    ticket,
                    entry,
                    content,
                })
                .collect(),
            notices: told.into_iter().collect(),
            at: case.now,
            ..CareCommit::default()
        };
        self.store.commit_care(commit).await?;
        self.tell(StreamEvent::Ticket(Box::new(ticket)));
        Ok(Acted::Done)
    }

    /// The article of that id, or the one about the ticket's failure mode and class: in the customer's language before
    /// others, then by id.
    async fn article(
        &self,
        case: &Case<'_>,
        ticket: &Ticket,
        id: Option<&str>,
        to_customer: bool,
    ) -> Result<Option<(RecordId, Article)>, StoreError> {
        let usable = |article: &Article| {
            article.state == ArticleState::Published && (!to_customer || article.is_for_customers())
        };
        if let Some(id) = id {
            let Ok(id) = RecordId::new(id) else {
                return Ok(None);
            };
            let record = RecordRef::new(RecordKind::Article, id.clone());
            let body = self.store.record(&record).await?.and_then(|r| r.body);
            return Ok(match body {
                Some(Body::Article(article)) if usable(&article) => Some((id, article)),
                Some(_) | None => None,
            });
        }
        let (Some(mode), Some(asset)) = (&ticket.mode, case.asset) else {
            return Ok(None);
        };
        let fits = |article: &Article| {
            let classes = &article.classes;
            article.modes.iter().any(|m| m == mode.as_str())
                && (classes.is_empty() || classes.iter().any(|c| c == asset.class.as_str()))
                && usable(article)
        };
        let wanted = case.around.language.as_deref().filter(|_| to_customer);
        let mut found: Option<(RecordId, Article)> = None;
        let mut page = RecordPage {
            after: None,
            limit: 1_000,
        };
        for _ in 0..ARTICLES_MAX / page.limit {
            let kind = RecordKind::Article;
            let all = RecordFilter::default();
            let records = self.store.records(kind, &all, &page).await?;
            let is_last = records.len() < page.limit;
            page.after = records.last().map(|r| r.record.id.clone());
            for record in records {
                if let Some(Body::Article(article)) = record.body
                    && fits(&article)
                {
                    let is_better = wanted.is_some_and(|language| article.language == language)
                        && found
                            .as_ref()
                            .is_some_and(|(_, f)| Some(f.language.as_str()) != wanted);
                    if found.is_none() || is_better {
                        found = Some((record.record.id, article));
                    }
                }
            }
            if is_last {
                break;
            }
        }
        Ok(found)
    }

    async fn open_for_rule(
        &self,
        case: &Case<'_>,
        key: &str,
        command: &Command,
    ) -> Result<Acted, StoreError> {
        let Command::Open {
            kind,
            title,
            priority,
            procedure,
            due_at,
            follow_up,
        } = command
        else {
            return Ok(Acted::Skipped("nothing to open".to_owned()));
        };
        let (Some(asset), Some(kind)) = (case.asset, self.tickets.kind(kind)) else {
            return Ok(Acted::Failed("no machine, or no such kind".to_owned()));
        };
        let Some(class) = self.catalogue.class(&asset.class) else {
            return Ok(Acted::Failed(format!("no class {}", asset.class)));
        };
        let load = self.rules().book.load().await?;
        let registered = self.terms.crew();
        let about = About {
            asset,
            class,
            crew: Crew {
                technicians: registered.as_deref().unwrap_or(&self.catalogue.technicians),
                load: &load,
            },
        };
        let new = OpenedByRule {
            rule: &case.rule.name,
            kind,
            title,
            priority: *priority,
            procedure,
            due_at: *due_at,
            follows: case.ticket.filter(|_| *follow_up),
            by: &case.by(),
            why: &case.occasion.what,
        };
        let terms = self.terms.of_asset(asset, case.now);
        let new = open_by_rule(self.opening(&terms), about, new, case.now);
        let outcome = self.open(new, None, Some(key.to_owned()), case.now).await?;
        Ok(match outcome {
            CareOutcome::Opened { .. } => Acted::Done,
            CareOutcome::AlreadyOpen(id) => Acted::Skipped(format!("{id} is open already")),
            CareOutcome::Stored | CareOutcome::Updated(_) | CareOutcome::AlreadyDone => {
                Acted::Before
            }
        })
    }

    /// Writes a notice, once.
    async fn say(
        &self,
        case: &Case<'_>,
        key: &str,
        place: usize,
        what: NoticeKind,
        title: Option<String>,
    ) -> Result<Acted, StoreError> {
        let ticket = match case.ticket {
            Some(id) => Some(self.store.ticket(id).await?),
            None => None,
        };
        let commit = CareCommit {
            idempotency_key: Some(key.to_owned()),
            notices: vec![notice_of(case, ticket.as_ref(), place, what, title)],
            at: case.now,
            ..CareCommit::default()
        };
        self.store.commit_care(commit).await?;
        Ok(Acted::Done)
    }

    /// Puts a lead into the registry, where there is none yet, and tells of it.
    async fn lead(
        &self,
        case: &Case<'_>,
        (key, place): (&str, usize),
        offer: Offer,
        title: &str,
        note: &str,
    ) -> Result<Acted, StoreError> {
        let Some(customer) = &case.around.customer else {
            return Ok(Acted::Skipped("there is no customer".to_owned()));
        };
        let (Ok(id), Ok(customer_id)) = (
            lead_id(case, key, offer),
            RecordId::new(customer.id.as_str()),
        ) else {
            return Ok(Acted::Failed("no id can be made for the lead".to_owned()));
        };
        let contract = case.around.contract.as_ref();
        let price = contract.and_then(|(.., price)| *price);
        let text: Vec<&str> = [case.occasion.what.as_str(), note]
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect();
        let lead = Lead {
            customer: customer_id,
            kind: offer.label().to_owned(),
            title: one_line(title),
            asset: case.asset.map(|asset| RecordId::from(&asset.id)),
            contract: contract.and_then(|(id, ..)| RecordId::new(id.as_str()).ok()),
            state: LeadState::Open,
            opened_at: case.now,
            value: price.filter(|_| offer == Offer::Renewal),
            note: Some(note_of(&text, &case.rule.name)),
        };
        let commit = RecordCommit {
            writes: vec![RecordWrite {
                kind: RecordKind::Lead,
                id: id.clone(),
                // One that is there, the CRM may have taken up.
                if_version: Some(0),
                change: Change::Put(Box::new(Body::Lead(lead))),
            }],
            by: case.by(),
            at: case.now,
        };
        if let RecordsOutcome::Refused(faults) = self.store.commit_records(commit).await? {
            let is_there = |kind: &RecordFaultKind| matches!(kind, RecordFaultKind::Version { .. });
            if let Some(fault) = faults.iter().find(|fault| !is_there(&fault.kind)) {
                let (field, detail) = (&fault.field, &fault.detail);
                return Ok(Acted::Failed(format!("lead refused: {field} {detail}")));
            }
        }
        let what = NoticeKind::CareLead(CareLead {
            lead: id.to_string(),
            offer: offer.label().to_owned(),
            customer: customer.id.clone(),
            contract: contract.map(|(id, ..)| id.clone()),
            reason: case.occasion.what.clone(),
            rule: case.rule.name.clone(),
        });
        self.say(case, key, place, what, Some(one_line(title)))
            .await
    }
}

/// `ticket` with somebody laid down, a skill asked for, or sent out.
fn assigned(
    case: &Case<'_>,
    ticket: &Ticket,
    technician: Option<&str>,
    skill: Option<&str>,
    send: bool,
) -> Result<Ticket, String> {
    let (by, why, now) = (case.by(), case.why(), case.now);
    if let Some(skill) = skill {
        return with_skill(ticket, skill, by, &why, now)
            .ok_or_else(|| format!("it needs the skill {skill} already, or nobody is sent"));
    }
    let mut after = ticket.clone();
    if let Some(who) = technician {
        match &ticket.assignment {
            // A planner's word stands.
            Some(laid_down) if chain_of(&laid_down.by).is_empty() => {
                let (planner, whom) = (&laid_down.by.name, &laid_down.technician);
                return Err(format!("{planner} has laid down {whom}"));
            }
            Some(laid_down) if laid_down.technician == who => {}
            Some(_) | None => {
                let who = Some(who.to_owned());
                after = assign(ticket, who, None, by.clone(), &why, now)
                    .map_err(|refused| refused.to_string())?;
            }
        }
    }
    if send {
        after = sent_out(&after, &by, &why, now)?;
    }
    if after == *ticket {
        return Err("it is assigned so already".to_owned());
    }
    Ok(after)
}

/// The notice that an action writes.
fn notice_of(
    case: &Case<'_>,
    ticket: Option<&Ticket>,
    place: usize,
    what: NoticeKind,
    title: Option<String>,
) -> Notice {
    let mut notice = match ticket {
        Some(ticket) => Notice::of(ticket, what, "", case.now),
        None => about_no_ticket(case, what),
    };
    // Not of the ticket's version, which may be another one after a crash.
    let label = notice.what.label();
    let (rule, occasion) = (&case.rule.name, &case.occasion.key);
    let subject = match case.subject.as_str() {
        "" => String::new(),
        subject => format!("{subject}."),
    };
    notice.id = NoticeId(format!("{label}.{rule}.{subject}{occasion}.{place}"));
    notice.why.clone_from(&case.occasion.what);
    notice.automation = case.chain();
    notice.title = title.unwrap_or(notice.title);
    notice
}

/// A notice about a machine or a contract.
fn about_no_ticket(case: &Case<'_>, what: NoticeKind) -> Notice {
    let title = match case.asset {
        Some(asset) => asset.name.clone(),
        None => case.occasion.what.clone(),
    };
    Notice {
        id: NoticeId(String::new()),
        at: case.now,
        ticket: None,
        asset: case.asset.map(|asset| asset.id.clone()),
        device: case.asset.map(|asset| asset.device.clone()),
        title,
        priority: Priority::P4,
        state: None,
        technician: None,
        due_at: case.occasion.at,
        why: String::new(),
        automation: Vec::new(),
        what,
    }
}

/// The same lead always has the same id.
fn lead_id(
    case: &Case<'_>,
    key: &str,
    offer: Offer,
) -> Result<RecordId, forecare_domain::InvalidName> {
    let subject = match (case.ticket, case.subject.as_str()) {
        (Some(ticket), _) => ticket.to_string(),
        (None, subject) => subject.chars().take(SUBJECT_CHARS).collect(),
    };
    let hash: String = Sha256::digest(key.as_bytes())
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    RecordId::new(format!("{}-{subject}-{hash}", offer.label()))
}

/// What else to know of a lead, as the registry takes it.
fn note_of(parts: &[&str], rule: &str) -> String {
    let text: String = parts.join(". ").chars().take(1_900).collect();
    format!("{} (rule {rule})", text.trim())
}

/// A title as the registry takes it.
fn one_line(text: &str) -> String {
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let line: String = line.take(200).collect();
    line.trim().to_owned()
}

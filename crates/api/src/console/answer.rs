//! The customer's page, opened by a signed link, without a login: before the work begins when to come ([`visit`]), then
//! whether it is solved, and how we did.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use forecare_care::dispatch::is_assignable;
use forecare_domain::{Actor, Channel, SurveyAnswer, Ticket, TicketId, TicketState, Visibility};
use forecare_store::{PageRequest, StoreError};
use serde::Deserialize;

use super::conversation::{self, MessageView};
use super::form::Fields;
use super::format::WEEKDAYS;
use super::shell::render;
use super::visit;
use crate::app::App;
use crate::extract::ApiPath;
use crate::heard::{MERGES_MAX, Said, complaint, hear};
use crate::problem::Problem;
use crate::state::{DeskError, TransitionRequest};

/// Longest comment, characters.
pub(super) const COMMENT_CHARS_MAX: usize = 2_000;
/// Times a step is tried that somebody else's comes before.
const TRIES: usize = 3;

/// Which language, where the browser's is not to count.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Language {
    pub(super) lang: Option<String>,
}

#[derive(Template)]
#[template(path = "answer.html")]
struct AnswerPage {
    words: &'static Words,
    ticket: String,
    title: String,
    asset: String,
    /// What was said last.
    said: Option<SurveyAnswer>,
    /// The work is done: how it went can be said.
    asks: bool,
    stands: &'static str,
    conversation: Vec<MessageView>,
    /// Tells a message sent twice from one in the same words.
    once: String,
    time_zone: String,
    thanks: Option<&'static str>,
    /// What was sent may be changed.
    may_change: bool,
    problem: Option<&'static str>,
    comment_max: usize,
    /// A message that was not taken, to be changed.
    typed: String,
}

#[derive(Template)]
#[template(path = "answer_closed.html")]
struct ClosedPage {
    words: &'static Words,
    why: &'static str,
}

/// The page's texts.
pub(super) struct Words {
    pub(super) lang: &'static str,
    pub(super) title: &'static str,
    pub(super) about: &'static str,
    pub(super) solved: &'static str,
    pub(super) yes: &'static str,
    pub(super) no: &'static str,
    pub(super) csat: &'static str,
    pub(super) csat_low: &'static str,
    pub(super) csat_high: &'static str,
    pub(super) nps: &'static str,
    pub(super) nps_low: &'static str,
    pub(super) nps_high: &'static str,
    pub(super) ces: &'static str,
    pub(super) ces_low: &'static str,
    pub(super) ces_high: &'static str,
    pub(super) comment: &'static str,
    pub(super) send: &'static str,
    pub(super) thanks: &'static str,
    pub(super) again: &'static str,
    pub(super) nothing: &'static str,
    pub(super) too_long: &'static str,
    pub(super) too_often: &'static str,
    pub(super) later: &'static str,
    pub(super) closed: &'static str,
    pub(super) expired: &'static str,
    pub(super) forged: &'static str,
    /// Monday first.
    pub(super) weekdays: [&'static str; 7],
    pub(super) visit_title: &'static str,
    pub(super) visit_about: &'static str,
    pub(super) agreed: &'static str,
    pub(super) times: &'static str,
    pub(super) other_times: &'static str,
    pub(super) choose: &'static str,
    pub(super) agreed_thanks: &'static str,
    pub(super) taken: &'static str,
    pub(super) nothing_chosen: &'static str,
    pub(super) no_slots: &'static str,
    pub(super) too_near: &'static str,
    pub(super) begun: &'static str,
    pub(super) message: &'static str,
    pub(super) message_thanks: &'static str,
    pub(super) ticket_title: &'static str,
    pub(super) stands: &'static str,
    /// By the state, in the order of a ticket's life.
    pub(super) states: [&'static str; 13],
    pub(super) conversation: &'static str,
    pub(super) we: &'static str,
    pub(super) you: &'static str,
    pub(super) write: &'static str,
}

const ENGLISH: Words = Words {
    lang: "en",
    title: "How did we do?",
    about: "Our work on",
    solved: "Is the problem solved?",
    yes: "Yes, it is solved",
    no: "No, something is still wrong",
    csat: "How satisfied are you with our work?",
    csat_low: "not at all",
    csat_high: "very",
    nps: "How likely are you to recommend us to others?",
    nps_low: "not at all likely",
    nps_high: "extremely likely",
    ces: "\"It was easy to get my problem solved.\"",
    ces_low: "disagree strongly",
    ces_high: "agree strongly",
    comment: "Anything else? (optional)",
    send: "Send",
    thanks: "Thank you. Your answer was recorded.",
    again: "You may change it here as long as this link is good.",
    nothing: "Please answer at least one question.",
    too_long: "Please write a little less.",
    too_often: "You have answered this often enough. Please call us instead.",
    later: "That did not work. Please try again in a few minutes.",
    closed: "This page cannot be shown",
    expired: "This link has expired. If something is still wrong, please call us.",
    forged: "This link is not complete. Please open it as it stands in the message.",
    weekdays: WEEKDAYS,
    visit_title: "When may we come?",
    visit_about: "Our visit to",
    agreed: "We come between",
    times: "Times that suit us",
    other_times: "Other times that suit us",
    choose: "Choose this time",
    agreed_thanks: "Thank you. The time is yours.",
    taken: "That time has just been taken. Please choose another one.",
    nothing_chosen: "Please choose a time, or write to us.",
    no_slots: "There is no time to choose at the moment. We will get in touch, or write to us here.",
    too_near: "The visit is too near to be moved here. Please call us if it does not suit you.",
    begun: "The work has begun.",
    message: "Nothing that suits you, or anything we should know?",
    message_thanks: "Thank you. Your message was passed on.",
    ticket_title: "Your ticket",
    stands: "Where it stands:",
    states: [
        "received",
        "being prepared",
        "given to a technician",
        "given to a technician",
        "being worked on",
        "waiting for you",
        "waiting for a supplier",
        "waiting for a part",
        "done",
        "done",
        "closed",
        "cancelled",
        "open again",
    ],
    conversation: "What was written",
    we: "We",
    you: "You",
    write: "Write to us",
};

const CHINESE: Words = Words {
    lang: "zh-CN",
    title: "请评价我们的服务",
    about: "服务设备：",
    solved: "问题是否已解决？",
    yes: "是，已解决",
    no: "否，仍有问题",
    csat: "您对本次服务的满意程度？",
    csat_low: "非常不满意",
    csat_high: "非常满意",
    nps: "您有多大可能向他人推荐我们？",
    nps_low: "完全不可能",
    nps_high: "非常可能",
    ces: "“解决我的问题很容易。”",
    ces_low: "非常不同意",
    ces_high: "非常同意",
    comment: "其他意见（可不填）",
    send: "提交",
    thanks: "谢谢！您的回答已记录。",
    again: "在链接有效期内，您可以在此修改。",
    nothing: "请至少回答一个问题。",
    too_long: "内容过长，请精简。",
    too_often: "您已多次提交，请直接致电我们。",
    later: "提交失败，请几分钟后再试。",
    closed: "无法显示此页面",
    expired: "链接已过期。如仍有问题，请致电我们。",
    forged: "链接不完整，请打开消息中的完整链接。",
    weekdays: ["周一", "周二", "周三", "周四", "周五", "周六", "周日"],
    visit_title: "请选择上门时间",
    visit_about: "上门服务设备：",
    agreed: "我们将在以下时间上门：",
    times: "可选时间",
    other_times: "其他可选时间",
    choose: "选择此时间",
    agreed_thanks: "谢谢！时间已为您预留。",
    taken: "该时间刚被预约，请另选时间。",
    nothing_chosen: "请选择时间，或给我们留言。",
    no_slots: "暂无可选时间。我们会与您联系，您也可以在此留言。",
    too_near: "上门时间临近，无法在此更改。如时间不便，请致电我们。",
    begun: "服务已开始。",
    message: "没有合适的时间，或有其他需要说明的事项？",
    message_thanks: "谢谢！您的留言已转达。",
    ticket_title: "您的工单",
    stands: "当前状态：",
    states: [
        "已收到",
        "准备中",
        "已派给技术员",
        "已派给技术员",
        "处理中",
        "等待您的回复",
        "等待供应商",
        "等待备件",
        "已完成",
        "已完成",
        "已结束",
        "已取消",
        "重新处理中",
    ],
    conversation: "往来消息",
    we: "我们",
    you: "您",
    write: "给我们留言",
};

impl Words {
    /// The language asked for, else the browser's first that we speak, else English.
    fn of(language: &Language, headers: &HeaderMap) -> &'static Self {
        let accepted = headers.get(header::ACCEPT_LANGUAGE);
        let accepted = accepted.and_then(|v| v.to_str().ok()).unwrap_or_default();
        let tags = language.lang.as_deref().into_iter();
        let mut tags = tags.chain(accepted.split(','));
        let spoken = |tag: &str| {
            let first = tag.trim().split(['-', ';']).next().unwrap_or_default();
            match first.to_ascii_lowercase().as_str() {
                "zh" => Some(&CHINESE),
                "en" => Some(&ENGLISH),
                _ => None,
            }
        };
        tags.find_map(spoken).unwrap_or(&ENGLISH)
    }
}

impl Words {
    /// Where a ticket stands.
    pub(super) fn of_state(&self, state: TicketState) -> &'static str {
        let place = TicketState::ALL.iter().position(|s| *s == state);
        place.map_or("", |place| self.states[place])
    }
}

/// Whether Chinese is the language asked for, or the browser's first that we speak.
pub(super) fn is_chinese(language: &Language, headers: &HeaderMap) -> bool {
    Words::of(language, headers).lang == CHINESE.lang
}

/// The link is no longer, or never was, good.
fn closed(words: &'static Words, expired: bool) -> Response {
    let (status, why) = if expired {
        (StatusCode::GONE, words.expired)
    } else {
        (StatusCode::NOT_FOUND, words.forged)
    };
    let mut response = render(&ClosedPage { words, why });
    *response.status_mut() = status;
    response
}

pub(super) fn busy() -> Response {
    let problem = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too many at once; try again in a minute",
    );
    let mut response = problem.into_response();
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
    response
}

/// Whether the work is done, so that there is something to say about it.
fn asks(ticket: &Ticket) -> bool {
    match ticket.state {
        TicketState::Resolved | TicketState::Confirmed | TicketState::Closed => true,
        TicketState::New
        | TicketState::Triaged
        | TicketState::Dispatched
        | TicketState::Accepted
        | TicketState::InProgress
        | TicketState::OnHold(_)
        | TicketState::Cancelled
        | TicketState::Reopened => false,
    }
}

/// Ticket `id`, or the one that goes on in its place.
async fn current(app: &App, id: TicketId) -> Result<Ticket, Problem> {
    let mut ticket = app.state.store.ticket(id).await?;
    for _ in 0..MERGES_MAX {
        let Some(into) = ticket.work.merged_into else {
            break;
        };
        ticket = app.state.store.ticket(into).await?;
    }
    Ok(ticket)
}

async fn show(
    app: &App,
    words: &'static Words,
    id: TicketId,
    problem: Option<&'static str>,
    thanks: Option<&'static str>,
) -> Result<Response, Problem> {
    show_again(app, words, id, (problem, ""), thanks).await
}

/// With the message that was not taken.
async fn show_again(
    app: &App,
    words: &'static Words,
    id: TicketId,
    (problem, typed): (Option<&'static str>, &str),
    thanks: Option<&'static str>,
) -> Result<Response, Problem> {
    let store = &app.state.store;
    let ticket = current(app, id).await?;
    if is_assignable(ticket.state) {
        return visit::show(app, words, &ticket, thanks, (problem, typed)).await;
    }
    let asset = store.asset(&ticket.asset).await?;
    let newest = PageRequest {
        before: None,
        limit: 1,
    };
    let said = store.survey_answers(Some(ticket.id), newest).await?;
    let mut response = render(&AnswerPage {
        words,
        ticket: ticket.id.to_string(),
        title: ticket.title.clone(),
        asset: asset.map_or_else(|| ticket.asset.to_string(), |a| a.name),
        said: said.into_iter().next().map(|p| p.item),
        asks: asks(&ticket),
        stands: words.of_state(ticket.state),
        conversation: conversation::read(app, words, &ticket).await?,
        once: app.form_key(),
        time_zone: app.state.appointments.calendar.time_zone().to_owned(),
        thanks,
        may_change: thanks == Some(words.thanks),
        problem,
        comment_max: COMMENT_CHARS_MAX,
        typed: problem.map_or_else(String::new, |_| typed.to_owned()),
    });
    if problem.is_some() {
        *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    }
    Ok(response)
}

pub(crate) async fn page(
    State(app): State<App>,
    ApiPath(token): ApiPath<String>,
    Query(language): Query<Language>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let words = Words::of(&language, &headers);
    match (app.state.answer_links)(&token, app.state.clock.now()) {
        Ok(_) if !app.public.admits() => Ok(busy()),
        Ok(id) => show(&app, words, id, None, None).await,
        Err(expired) => Ok(closed(words, expired)),
    }
}

pub(crate) async fn answer(
    State(app): State<App>,
    ApiPath(token): ApiPath<String>,
    Query(language): Query<Language>,
    headers: HeaderMap,
    fields: Result<Fields, Problem>,
) -> Result<Response, Problem> {
    let words = Words::of(&language, &headers);
    let now = app.state.clock.now();
    let id = match (app.state.answer_links)(&token, now) {
        // Only good links count, so that nobody keeps customers out with bad ones.
        Ok(_) if !app.public.admits() => return Ok(busy()),
        Ok(id) => id,
        Err(expired) => return Ok(closed(words, expired)),
    };
    let ticket = current(&app, id).await?;
    let id = ticket.id;
    let Ok(fields) = fields else {
        // Nobody reads that much of a form.
        return show(&app, words, id, Some(words.too_long), None).await;
    };
    if is_assignable(ticket.state) {
        return visit::answer(&app, words, &ticket, &fields).await;
    }
    if fields.get("message").is_some() {
        let (said, problem) = visit::written(&app, words, id, &fields).await;
        let typed = fields.get("message").unwrap_or_default();
        return show_again(&app, words, id, (problem, typed), said).await;
    }
    let answer = SurveyAnswer {
        ticket: id,
        at: now,
        solved: match fields.get("solved") {
            Some("yes") if asks(&ticket) => Some(true),
            Some("no") if asks(&ticket) => Some(false),
            Some(_) | None => None,
        },
        csat: score(&fields, "csat", 1, 5),
        nps: score(&fields, "nps", 0, 10),
        ces: score(&fields, "ces", 1, 7),
        comment: fields.get("comment").map(ToOwned::to_owned),
    };
    let n_chars = answer.comment.as_ref().map_or(0, |c| c.chars().count());
    if n_chars > COMMENT_CHARS_MAX {
        return show(&app, words, id, Some(words.too_long), None).await;
    }
    let scores = [answer.csat, answer.nps, answer.ces];
    let empty =
        answer.solved.is_none() && answer.comment.is_none() && scores.iter().all(Option::is_none);
    if empty {
        return show(&app, words, id, Some(words.nothing), None).await;
    }
    match app.state.store.put_survey_answer(answer.clone()).await {
        Ok(()) => {}
        Err(StoreError::Conflict(_)) => {
            return show(&app, words, id, Some(words.too_often), None).await;
        }
        Err(failure) => return Err(failure.into()),
    }
    match moved(&app, id, &answer).await {
        Ok(()) => show(&app, words, id, None, Some(words.thanks)).await,
        Err(failure) => {
            tracing::warn!(ticket.id = %id, error = %failure, "a customer's word did not move the ticket");
            show(&app, words, id, Some(words.later), None).await
        }
    }
}

/// Takes the step that the customer's word means: confirmed, or open again. Where that is not possible any more, somebody
/// hears it all the same.
async fn moved(app: &App, id: TicketId, answer: &SurveyAnswer) -> Result<(), DeskError> {
    let (to, said) = match answer.solved {
        Some(true) => (TicketState::Confirmed, "the customer says it is solved"),
        Some(false) => (TicketState::Reopened, "the customer says it is not solved"),
        None => return Ok(()),
    };
    let request = TransitionRequest {
        to,
        why: said.to_owned(),
        verdict: None,
        technician: None,
        parts_used: Vec::new(),
        if_version: None,
        idempotency_key: None,
    };
    let by = Actor {
        name: "customer".to_owned(),
        channel: Channel::Customer,
    };
    // Its clocks may write to the ticket in between: then once more, on what it has become.
    for _ in 0..TRIES {
        let ticket = app.state.store.ticket(id).await;
        let ticket = ticket.map_err(|failure| DeskError::Unavailable(failure.to_string()))?;
        if !forecare_care::allowed(ticket.state).contains(&to) {
            break;
        }
        let desk = &app.state.desk;
        match desk.transition(id, request.clone(), by.clone()).await {
            Err(DeskError::Conflict(_)) => {}
            done => return done.map(|_ticket| ()),
        }
    }
    if to == TicketState::Confirmed {
        return Ok(());
    }
    // Closed meanwhile, or another ticket is open for the same fault.
    let comment = answer.comment.as_deref().unwrap_or_default();
    let said = Said {
        visibility: Visibility::Public,
        text: format!("{said}\n{comment}").trim_end().to_owned(),
        kind: complaint(),
        key: Some(format!("answer:{id}:{}", answer.at)),
        contact: None,
    };
    hear(app, id, said, &by).await.map(|_heard| ())
}

fn score(fields: &Fields, name: &str, least: u8, most: u8) -> Option<u8> {
    let value: u8 = fields.get(name)?.parse().ok()?;
    (least..=most).contains(&value).then_some(value)
}

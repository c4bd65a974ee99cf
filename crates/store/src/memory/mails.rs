//! Messages that belong nowhere yet.

use std::collections::{BTreeMap, BTreeSet};

use forecare_domain::{InboxMail, MailFate};
use forecare_registry::Addressed;

use crate::mails::settled;
use crate::{NewMail, StoreError};

#[derive(Debug, Clone, Default)]
pub(super) struct Mails {
    all: BTreeMap<i64, (InboxMail, Option<Vec<u8>>)>,
    last: i64,
}

impl Mails {
    /// Position and mail as stored; whether it is new.
    pub(super) fn put(&mut self, new: &NewMail) -> Result<(i64, InboxMail, bool), StoreError> {
        let is_it = |mail: &InboxMail| mail.message_id == new.mail.message_id;
        if let Some((n, (mail, _))) = self.all.iter().find(|(_, (mail, _))| is_it(mail)) {
            return Ok((*n, mail.clone(), false));
        }
        let waiting = self
            .all
            .values()
            .filter(|(m, _)| m.fate == MailFate::Waiting);
        let bytes = waiting.clone().filter_map(|(_, content)| content.as_ref());
        let before: usize = bytes.map(Vec::len).sum();
        let before = i64::try_from(before).unwrap_or(i64::MAX);
        if let Some(full) = new.too_much(waiting.count(), before) {
            return Err(full);
        }
        self.last += 1;
        let kept = (new.mail.clone(), new.content.clone());
        self.all.insert(self.last, kept);
        Ok((self.last, new.mail.clone(), true))
    }

    pub(super) fn all(
        &self,
        waiting_only: bool,
    ) -> impl DoubleEndedIterator<Item = (i64, &InboxMail)> {
        let all = self.all.iter().map(|(n, (mail, _))| (*n, mail));
        all.filter(move |(_, mail)| !waiting_only || mail.fate == MailFate::Waiting)
    }

    pub(super) fn get(&self, position: i64) -> Result<(InboxMail, Option<Vec<u8>>), StoreError> {
        let found = self.all.get(&position).cloned();
        found.ok_or_else(|| StoreError::NotFound(format!("message {position}")))
    }

    pub(super) fn settle(
        &mut self,
        position: i64,
        fate: MailFate,
    ) -> Result<InboxMail, StoreError> {
        let after = settled(&self.get(position)?.0, fate)?;
        self.all.insert(position, (after.clone(), None));
        Ok(after)
    }

    /// What people sent goes with them.
    pub(super) fn erase(&mut self, addressed: &BTreeSet<Addressed>) {
        self.all.retain(|_, (mail, _)| {
            let is_it = |to: &Addressed| {
                let address = to.address.as_ref().filter(|_| to.is_customer);
                address.is_some_and(|a| a.to_lowercase() == mail.address)
            };
            !addressed.iter().any(is_it)
        });
    }
}

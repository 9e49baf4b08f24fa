//! Accounts for every recipient of a campaign: the report, the list of recipients, the events and a ledger of
//! hand-overs must tell the same.

use e2e::{DispatchTrail, Handover, Recipient, Report, Stack};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;
use uuid::Uuid;

pub struct Account {
    pub report: Report,
    pub recipients: HashMap<Uuid, Recipient>,
    pub dispatches: Vec<DispatchTrail>,
}

impl Account {
    /// Of a campaign that has ended. Checks that what the API says is what was recorded, and that it adds up (I1).
    pub async fn of(stack: &Stack, campaign: Uuid) -> Self {
        let api = stack.client();
        // Report and list are read models of their own, each at its own pace.
        api.caught_up(Duration::from_secs(60)).await;
        let report = api.report(campaign).await;
        let list = api.recipients(campaign).await;
        let dispatches = stack.trail().dispatches(campaign).await;
        let mut states: BTreeMap<&str, u64> = BTreeMap::new();
        for recipient in &list {
            *states.entry(recipient.state.as_str()).or_default() += 1;
        }
        let counted = |state: &str| states.get(state).copied().unwrap_or_default();
        let listed = Report {
            planned: list.len() as u64,
            pending: counted("pending"),
            accepted: counted("accepted"),
            suppressed: counted("suppressed"),
            rejected: counted("rejected"),
            unknown: counted("unknown"),
            cancelled: counted("cancelled"),
            unsubscribed: report.unsubscribed,
        };
        assert_eq!(listed, report, "the list of recipients and the report differ");
        let planned: Vec<Uuid> =
            dispatches.iter().flat_map(|dispatch| dispatch.recipients.iter().copied()).collect();
        let recipients: HashMap<Uuid, Recipient> =
            list.into_iter().map(|recipient| (recipient.subscriber_id, recipient)).collect();
        assert_eq!(recipients.len() as u64, report.planned, "somebody is listed twice");
        assert!(
            planned.iter().all(|reader| recipients.contains_key(reader)),
            "somebody planned is not listed"
        );
        assert_eq!(planned.len() as u64, report.planned, "the dispatches and the report differ");
        Self { report, recipients, dispatches }
    }

    /// Those of this campaign.
    pub fn hand_overs(&self, ledger: Vec<Handover>) -> Vec<Handover> {
        let ours: HashSet<Uuid> = self.dispatches.iter().map(|dispatch| dispatch.id).collect();
        ledger.into_iter().filter(|handover| ours.contains(&handover.dispatch)).collect()
    }

    /// I4: each message that was accepted was authorized for that recipient, and everybody who is said to be accepted
    /// got one; whoever got one is accepted, or not known to be.
    pub fn check_intents(&self, ledger: &[Handover]) {
        let dispatches: HashMap<Uuid, &DispatchTrail> = self.dispatches.iter().map(|d| (d.id, d)).collect();
        for handover in ledger {
            let dispatch = dispatches.get(&handover.dispatch);
            let dispatch =
                dispatch.unwrap_or_else(|| panic!("a message of no dispatch of this campaign: {handover:?}"));
            let authorizations = dispatch.authorizations(handover.subscriber);
            let attempt = handover.attempt as usize;
            assert!(
                (1..=authorizations).contains(&attempt),
                "not authorized ({authorizations}): {handover:?}"
            );
            let state = &self.recipients[&handover.subscriber].state;
            assert!(["accepted", "unknown"].contains(&state.as_str()), "{state}, yet taken: {handover:?}");
        }
        let taken: HashSet<Uuid> = ledger.iter().map(|handover| handover.subscriber).collect();
        for recipient in self.in_state("accepted") {
            assert!(
                taken.contains(&recipient.subscriber_id),
                "said to be accepted, and no ledger has it: {recipient:?}"
            );
        }
    }

    /// I2: nobody got two.
    pub fn check_once(&self, ledger: &[Handover]) {
        let mut seen: HashMap<Uuid, &Handover> = HashMap::new();
        for handover in ledger {
            if let Some(earlier) = seen.insert(handover.subscriber, handover) {
                panic!("a reader got two mails: {earlier:?} and {handover:?}");
            }
        }
    }

    pub fn in_state(&self, state: &'static str) -> impl Iterator<Item = &Recipient> {
        self.recipients.values().filter(move |recipient| recipient.state == state)
    }

    /// Readers whose late hand-over was recorded: counted apart.
    pub fn late(&self) -> HashSet<Uuid> {
        self.dispatches.iter().flat_map(|dispatch| dispatch.late.iter().copied()).collect()
    }
}

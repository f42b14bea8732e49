//! How links behave, as scenarios say it.

use core::time::Duration;

use transport_mem::{Conditions, Latency, Loss};

use crate::run::get;
use crate::scenario::{Link, Network};
use crate::value::Parameters;

/// What waits where a rate is limited, unless the scenario says otherwise.
pub(super) const BUFFER: usize = 64 << 10;
/// How much longer what is held back takes, unless the scenario says otherwise.
const HELD: Duration = Duration::from_millis(10);

/// The conditions of links.
///
/// # Errors
/// What cannot be, and what would be right.
pub(crate) fn conditions(network: &Network, parameters: &Parameters) -> Result<Conditions, String> {
    let mut conditions = match network.preset {
        Link::Lan => Conditions::LAN,
        Link::Wan => Conditions::WAN,
        Link::Loopback => Conditions::PERFECT.delay(Duration::from_micros(100), Duration::ZERO),
        Link::Perfect => Conditions::PERFECT,
    };
    let latency = get(&network.latency, parameters)?;
    let jitter = get(&network.jitter, parameters)?;
    if latency.is_some() || jitter.is_some() {
        let (least, spread) = match conditions.latency {
            Latency::Uniform { least, spread } => (least, spread),
            _ => (Duration::ZERO, Duration::ZERO),
        };
        conditions = conditions.delay(latency.unwrap_or(least), jitter.unwrap_or(spread));
    }
    if let Some(loss) = get(&network.loss, parameters)? {
        let (loss, burst) = (loss.0, get(&network.burst, parameters)?.unwrap_or(1.0));
        if burst < 1.0 || (burst > 1.0 && (loss >= 1.0 || loss / (1.0 - loss) > burst)) {
            return Err(format!(
                "burst: at least 1 packet, and enough of them for the loss: {loss} needs more than {burst}"
            ));
        }
        conditions = match burst > 1.0 && loss > 0.0 {
            true => conditions.losing(Loss::bursts(loss, burst)),
            false => conditions.loss(loss),
        };
    }
    if let Some(rate) = get(&network.rate, parameters)? {
        let buffer = get(&network.buffer, parameters)?.unwrap_or(BUFFER);
        if rate == 0 {
            return Err("rate: at least 1 byte per second".into());
        }
        conditions = conditions.rate(rate as u64, buffer);
    }
    if let Some(mtu) = get(&network.mtu, parameters)? {
        conditions = conditions.mtu(mtu);
    }
    if let Some(duplicate) = get(&network.duplicate, parameters)? {
        conditions = conditions.duplicate(duplicate.0);
    }
    if let Some(reorder) = get(&network.reorder, parameters)? {
        conditions = conditions.reorder(reorder.0, get(&network.reorder_by, parameters)?.unwrap_or(HELD));
    }
    Ok(conditions)
}

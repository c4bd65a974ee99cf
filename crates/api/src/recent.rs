//! What is read for many askers at once: it is kept for a while, and read by one at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// What was read last, and when. One reader at a time: whoever comes meanwhile gets the same.
pub(crate) struct Recent<T>(Mutex<Option<(Instant, Arc<T>)>>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Recent<T> {
    /// What was read last where it is younger than `age_max`, else what `read` brings.
    pub(crate) async fn get<E>(
        &self,
        age_max: Duration,
        read: impl Future<Output = Result<T, E>>,
    ) -> Result<Arc<T>, E> {
        let mut last = self.0.lock().await;
        if let Some((at, kept)) = &*last
            && at.elapsed() < age_max
        {
            return Ok(Arc::clone(kept));
        }
        let read = Arc::new(read.await?);
        *last = Some((Instant::now(), Arc::clone(&read)));
        Ok(read)
    }

    /// It is read again for whoever comes next.
    pub(crate) async fn forget(&self) {
        self.0.lock().await.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(recent: &Recent<u32>, age_max: Duration, n: Result<u32, ()>) -> Result<u32, ()> {
        recent.get(age_max, async { n }).await.map(|kept| *kept)
    }

    #[tokio::test]
    async fn it_is_read_again_when_it_is_too_old_and_after_a_failure() {
        let (recent, long) = (Recent::default(), Duration::from_secs(3_600));
        assert_eq!(read(&recent, long, Err(())).await, Err(()));
        assert_eq!(read(&recent, long, Ok(1)).await, Ok(1));
        assert_eq!(read(&recent, long, Ok(2)).await, Ok(1));
        assert_eq!(read(&recent, Duration::ZERO, Ok(3)).await, Ok(3));
        recent.forget().await;
        assert_eq!(read(&recent, long, Ok(4)).await, Ok(4));
    }

    #[tokio::test]
    async fn who_comes_while_it_is_read_gets_the_same() {
        let recent = Recent::default();
        let n = std::cell::Cell::new(0);
        let slow = || async {
            n.set(n.get() + 1);
            tokio::task::yield_now().await;
            Ok::<u32, ()>(n.get())
        };
        let hour = Duration::from_secs(3_600);
        let (first, second) = tokio::join!(recent.get(hour, slow()), recent.get(hour, slow()));
        assert_eq!((first.map(|n| *n), second.map(|n| *n)), (Ok(1), Ok(1)));
    }
}

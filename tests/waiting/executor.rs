//! Tasks on one thread, polled when they are woken and in no other case, the lowest number first:
//! what is not woken is seen to hang.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use limitry::errors::WaitError;
use limitry::{Decision, Engine, Event, Timestamp};

pub(crate) type Answer = Result<Decision, WaitError>;

#[derive(Default)]
struct Flag {
    is_woken: AtomicBool,
    wakes: AtomicUsize,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        self.wakes.fetch_add(1, Ordering::SeqCst);
    }
}

struct Task {
    future: Pin<Box<dyn Future<Output = Answer>>>,
    flag: Arc<Flag>,
}

#[derive(Default)]
pub(crate) struct Executor {
    tasks: BTreeMap<usize, Task>,
    next: usize,
    polls: usize,
}

impl Executor {
    /// Adds a task, which is not polled before the next [`run`](Self::run).
    pub(crate) fn spawn(&mut self, future: impl Future<Output = Answer> + 'static) -> usize {
        let flag = Arc::new(Flag::default());
        flag.is_woken.store(true, Ordering::SeqCst);
        let number = self.next;
        self.next += 1;
        self.tasks.insert(number, Task { future: Box::pin(future), flag });
        number
    }

    /// Has an event wait.
    pub(crate) fn wait(&mut self, engine: &Engine, event: Event<'static>) -> usize {
        let engine = engine.clone();
        self.spawn(async move { engine.wait(&event).await })
    }

    /// The same until a deadline.
    pub(crate) fn wait_until(
        &mut self,
        engine: &Engine,
        event: Event<'static>,
        at: Timestamp,
    ) -> usize {
        let engine = engine.clone();
        self.spawn(async move { engine.wait_until(&event, at).await })
    }

    /// Drops a task.
    pub(crate) fn cancel(&mut self, number: usize) {
        drop(self.tasks.remove(&number).expect("it waits"));
    }

    /// Polls all that are woken, until none is; returns those that ended, in that order.
    pub(crate) fn run(&mut self) -> Vec<(usize, Answer)> {
        let mut ended = Vec::new();
        while let Some(number) = self
            .tasks
            .iter()
            .find_map(|(number, task)| task.flag.is_woken.load(Ordering::SeqCst).then_some(*number))
        {
            let task = self.tasks.get_mut(&number).expect("it was just found");
            task.flag.is_woken.store(false, Ordering::SeqCst);
            self.polls += 1;
            let waker = Waker::from(Arc::clone(&task.flag));
            if let Poll::Ready(answer) = task.future.as_mut().poll(&mut Context::from_waker(&waker))
            {
                self.tasks.remove(&number);
                ended.push((number, answer));
            }
        }
        ended
    }

    /// The numbers of those that were let in, in that order; all that ended were.
    pub(crate) fn admitted(&mut self) -> Vec<usize> {
        let ended = self.run();
        let admitted = |(number, answer): (usize, Answer)| {
            assert!(answer.expect("a good event").is_allowed(), "{number} is let in");
            number
        };
        ended.into_iter().map(admitted).collect()
    }

    /// How many have not ended.
    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// How many polls there were so far.
    pub(crate) fn polls(&self) -> usize {
        self.polls
    }
}

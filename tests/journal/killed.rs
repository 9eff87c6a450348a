//! Children of this program that are killed: what the tests of kills have in common.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::{env, thread};

use limitry::Engine;

use crate::support::Dice;
use crate::support::files::StoreFile;

// The child.

pub(crate) fn say(line: &str) {
    // One write a line, so that lines of threads do not mix; they end where the process does.
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(format!("@{line}\n").as_bytes());
    let _ = out.flush();
}

/// What a child does that is told by a variable a seed, which of its store's lives this is, and
/// where that store is: it opens the store, lives on so many threads, each by dice of its own, and
/// waits for its death. Nothing where the variable is not set.
pub(crate) fn live_as_told(
    variable: &str,
    threads: u64,
    open: impl FnOnce(&Path, u64) -> Engine,
    live: impl Fn(&Engine, Dice, (u64, u64)) + Sync,
) {
    let Ok(spec) = env::var(variable) else { return };
    let parts: Vec<&str> = spec.splitn(3, ' ').collect();
    let number = |at: usize| parts[at].parse::<u64>().expect("a number");
    let (seed, life) = (number(0), number(1));
    let (engine, live) = (&open(Path::new(parts[2]), life), &live);
    thread::scope(|scope| {
        for thread in 0..threads {
            let dice = Dice::new(seed * 97 + life * threads + thread);
            scope.spawn(move || live(engine, dice, (life, thread)));
        }
    });
    await_death();
}

pub(crate) fn await_death() {
    say("DONE");
    // Whoever started this kills it, or has died.
    let _ = std::io::stdin().read(&mut [0]);
}

// The parent.

/// Kills the child whatever happens.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a test of this program by itself, told by a variable what to do, and kills it when who
/// hears its lines says so: asked before the first one, and after each.
pub(crate) fn run_until_killed(
    test: &str,
    (variable, told): (&str, String),
    mut hear: impl FnMut(Option<&str>) -> bool,
) {
    let mut child = Command::new(env::current_exe().expect("this program"));
    child.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(variable, told);
    child.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = Held(child.spawn().expect("a child"));
    let mut lines = BufReader::new(child.0.stdout.take().expect("a pipe"));
    let (mut line, mut is_over, mut dead) = (String::new(), hear(None), false);
    loop {
        if is_over && !dead {
            child.0.kill().expect("it is killed");
            dead = true;
        }
        line.clear();
        lines.read_line(&mut line).expect("text");
        // The last line may be cut short: then nobody has heard it.
        let Some(whole) = line.strip_suffix('\n') else { break };
        is_over = hear(Some(whole));
    }
    assert!(dead, "the child ended by itself");
}

/// What is known of a store by what its children have said, each of which is told what to do as
/// [`live_as_told`] is.
pub(crate) trait Story: Default {
    /// The test that a child runs, and the variable that it is told by.
    const CHILD: (&str, &str);
    /// How many children a store has, one after the other.
    const LIVES: u64;
    /// A child is killed after fewer answers than these.
    const ANSWERS: u64;

    /// Hears what a child says: an answer, or `TRY` with what it begins.
    fn hear(&mut self, said: &str);

    /// Looks at what so many children have left.
    fn examine(&mut self, path: &Path, lives: u64, context: &str);
}

/// A store's story: what each of its children has said and left.
pub(crate) fn story<S: Story>(test: &str, seed: u64) -> S {
    let file = StoreFile::new(test);
    let (mut dice, mut story) = (Dice::new(seed), S::default());
    for life in 0..S::LIVES {
        let (answers, mut heard) = (dice.below(S::ANSWERS), 0);
        let (child, variable) = S::CHILD;
        let told = format!("{seed} {life} {}", file.path.display());
        run_until_killed(child, (variable, told), |line| {
            // The test harness says something before.
            let said = line.and_then(|line| line.split_once('@')).map(|(_, said)| said);
            if let Some(said) = said.filter(|said| *said != "DONE") {
                story.hear(said);
                heard += u64::from(!said.starts_with("TRY"));
            }
            heard >= answers || said == Some("DONE")
        });
        story.examine(&file.path, life + 1, &format!("seed {seed}, life {life}"));
    }
    story
}

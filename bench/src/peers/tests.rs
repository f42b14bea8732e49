use super::comparison::PLACE;
use super::measure::Wanted;
use super::report::{Absent, Figure, Report, Row, SCHEMA};
use super::*;

fn wanted(members: &[usize]) -> Wanted {
    Wanted { members: members.into(), cluster: Vec::new(), repetitions: 1, rows: Vec::new() }
}

fn report(name: &str, best: f64) -> Report {
    let mut report = measure::report(name, "1.0", &["It is an example."]);
    report.figures.push(Figure::new(Row::PingAck, 10, vec![best, best * 1.5, best * 1.1], Some(7.0)));
    report
}

#[test]
fn ours_and_foca_do_their_work_at_a_small_size() {
    for contender in [Contender::Ours, Contender::Foca] {
        let report = contender.measure(&wanted(&[5, 12])).unwrap();
        complete(&report);
        assert_eq!(Report::from_json(&report.to_json()), Ok(report));
    }
}

/// Whether a report of 5 and 12 members has all rows.
fn complete(report: &Report) {
    let rows = |members| report.figures.iter().filter(|figure| figure.members == members).count();
    assert_eq!((rows(5), rows(12)), (5, 6), "{report:?}");
    assert!(report.absent(Row::HeapPerMember, 5).is_some());
    let mut times = report
        .figures
        .iter()
        .filter(|figure| figure.row != Row::HeapPerMember && !figure.row.is_of_cluster());
    assert!(times.all(|figure| figure.best > 0.0), "{report:?}");
}

#[test]
fn ours_and_foca_form_clusters_and_spread_an_event() {
    for contender in [Contender::Ours, Contender::Foca] {
        let wanted = Wanted { cluster: vec![20], repetitions: 2, ..wanted(&[]) };
        clusters(&contender.measure(&wanted).unwrap());
    }
}

/// Whether a report of twenty nodes says what can be.
fn clusters(report: &Report) {
    assert!(!report.absent.iter().any(|absent| absent.row.is_of_cluster()), "{report:?}");
    let value = |row| report.figure(row, 20).map(Figure::value).unwrap();
    assert!(value(Row::Join99) <= value(Row::JoinAll) && value(Row::JoinCpu) > 0.0, "{report:?}");
    // A node that passes news on gets some of it back.
    assert!(value(Row::EventAll) < 3.0 && value(Row::EventMissed) == 0.0, "{report:?}");
    assert!(value(Row::EventCopies) >= 0.95, "all but the first need one: {report:?}");
}

#[test]
fn what_does_not_come_about_in_every_run_is_no_figure() {
    /// Nobody learns of anybody, and who is told keeps it.
    struct Deaf(usize, bool);

    impl cluster::Cluster for Deaf {
        fn of(nodes: usize, formed: bool, _: u64) -> Self {
            Self(nodes, formed)
        }
        fn pass(&mut self, _: core::time::Duration) {}
        fn views_of(&self, members: usize) -> usize {
            if members == if self.1 { self.0 } else { 1 } { self.0 } else { 0 }
        }
    }

    impl cluster::Joins for Deaf {
        fn join_all(&mut self) {}
    }

    impl cluster::Tells for Deaf {
        fn tell_all(&mut self, last: core::time::Duration) -> cluster::Told {
            cluster::Told { reached: 1, copies: 0, last }
        }
    }

    let mut report = measure::report("deaf", "1.0", &[]);
    cluster::measure::<Deaf, Deaf>(&Wanted { cluster: vec![4], ..wanted(&[]) }, &mut report);
    let why = |row| report.absent(row, 4).map(|absent| absent.why.as_str());
    for row in [Row::Join99, Row::JoinAll, Row::JoinCpu] {
        assert_eq!(why(row), Some("In 1 of 1 runs not within 300 s."));
    }
    assert_eq!(why(Row::EventAll), Some("In 1 of 1 runs not within 30 s."));
    assert_eq!(report.figure(Row::EventMissed, 4).map(Figure::value), Some(3.0));
    assert_eq!(report.figure(Row::EventCopies, 4).map(Figure::value), Some(0.0));
}

#[test]
fn go_does_its_work_or_says_what_to_install() {
    match Contender::Go.run(&wanted(&[5, 12])) {
        Ok(report) => {
            complete(&report);
            assert!(report.version.starts_with(|digit: char| digit.is_ascii_digit()), "{}", report.version);
        }
        Err(why) => {
            assert!(
                why.contains("apt-get install golang-go golang-github-hashicorp-memberlist-dev"),
                "{why}"
            );
        }
    }
}

#[test]
fn go_is_asked_for_rows_and_refuses_what_is_no_cluster() {
    let Err(error) = Contender::Go.measure(&wanted(&[5])) else { panic!("it is no part of this program") };
    assert!(error.contains("program of its own"), "{error}");
    let one = Wanted { rows: vec![Row::PingAck], ..wanted(&[5]) };
    if let Ok(report) = Contender::Go.run(&one) {
        let rows: Vec<Row> = report.figures.iter().map(|figure| figure.row).collect();
        assert_eq!(rows, [Row::PingAck]);
        assert!(Contender::Go.run(&wanted(&[1])).unwrap_err().contains("failed"));
    }
}

#[test]
fn the_version_that_foca_is_said_to_be_is_the_one_that_is_measured() {
    let lock = include_str!("../../../Cargo.lock");
    let report = Contender::Foca.measure(&wanted(&[])).unwrap();
    assert!(
        lock.contains(&format!("name = \"foca\"\nversion = \"{}\"", report.version)),
        "{}",
        report.version
    );
}

#[test]
fn the_version_that_al8n_s_memberlist_is_said_to_be_is_the_one_that_is_measured() {
    let lock = include_str!("../../peers/memberlist/Cargo.lock");
    let program = include_str!("../../peers/memberlist/src/main.rs");
    let (_, rest) = program.split_once("const VERSION: &str = \"").unwrap();
    let version = rest.split('"').next().unwrap();
    assert!(lock.contains(&format!("name = \"memberlist-core\"\nversion = \"{version}\"")), "{version}");
}

/// Its dependencies take minutes to build, and are not of this workspace.
#[test]
#[ignore = "builds for minutes"]
fn al8n_s_memberlist_does_its_work_at_a_small_size() {
    let wanted = Wanted { cluster: vec![20], ..wanted(&[5, 12]) };
    let report = Contender::Memberlist.run(&wanted).unwrap();
    complete(&report);
    clusters(&report);
}

#[test]
fn a_report_of_another_form_is_refused() {
    let good = report("a", 2.0);
    assert_eq!(Report::from_json(&good.to_json()), Ok(good.clone()));

    let other = Report { schema: SCHEMA + 1, ..good.clone() };
    assert!(Report::from_json(&other.to_json()).unwrap_err().contains("form 2"));
    let mut disorder = good.clone();
    disorder.figures[0].best = 9.0;
    assert!(Report::from_json(&disorder.to_json()).unwrap_err().contains("ping in, ack out, 10 members"));
    let unknown = good.to_json().replace("\"remarks\"", "\"marks\"");
    assert!(Report::from_json(&unknown).unwrap_err().contains("marks"));
}

#[test]
fn the_table_says_how_many_times_ours_a_peer_takes_and_what_is_missing() {
    let mut ahead = report("ahead", 1.0);
    ahead.absent.push(Absent { row: Row::News, members: None, why: "It has no news.".into() });
    let mut ours = report("ours", 2.0);
    ours.figures.push(Figure::new(Row::News, 1_000, vec![0.123], None));
    let left_out = vec![LeftOut { name: "go".into(), why: "there is no `go`".into() }];
    let contenders = vec![ours, ahead, report("behind", 50.0)];
    let comparison = Comparison { contenders, left_out, ..Comparison::default() };

    let expected = "\
|                                              |     N | ours 1.0 | ahead 1.0          | behind 1.0      | go    |
|----------------------------------------------|------:|---------:|-------------------:|----------------:|------:|
| apply a packet of 10 alives that are news, µs | 1,000 | 0.12     | – [1]              | –               | – [2] |
| ping in, ack out, µs                          | 10    | 2 +10 %  | 1 +10 % (**0.50×**) | 50 +10 % (25×)  | – [2] |
";
    let text = comparison.markdown();
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").replace('-', "");
    assert!(squeezed(&text).starts_with(&squeezed(expected)), "{text}");
    for line in ["1. ahead: It has no news.", "2. go: there is no `go`", "- ours 1.0: It is an example."] {
        assert!(text.lines().any(|known| known == line), "{line} in {text}");
    }
    assert!(text.contains("Allocations in one operation:"), "{text}");
    let far =
        Comparison { contenders: vec![report("ours", 0.5), report("far", 900.0)], ..Comparison::default() };
    assert!(far.markdown().contains("(1,800×)"), "{}", far.markdown());
    assert_eq!(Comparison::from_json(&comparison.to_json()), Ok(comparison));
}

#[test]
fn the_plot_has_a_panel_for_each_row_of_one_node_and_a_curve_for_each_contender() {
    let (mut ours, mut theirs) = (report("ours", 2.0), report("<theirs>", 50.0));
    for (report, times) in [(&mut ours, [1.0, 2.0, 3.0]), (&mut theirs, [1.0, 100.0, 10_000.0])] {
        for (members, time) in [10, 1_000, 10_000].into_iter().zip(times) {
            report.figures.push(Figure::new(Row::News, members, vec![time], None));
        }
        report.figures.push(Figure::new(Row::JoinAll, 1_000, vec![9.0], None));
    }
    // Nothing that could be drawn on a logarithmic axis.
    ours.figures.push(Figure::new(Row::HeapPerMember, 1_000, vec![0.0], None));
    let comparison = Comparison { contenders: vec![ours, theirs], ..Comparison::default() };

    let svg = plot::svg(&comparison).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
    for title in [Row::News, Row::PingAck].map(|row| row.title().0) {
        assert_eq!(svg.matches(title).count(), 1, "{title}");
    }
    for title in [Row::JoinAll, Row::HeapPerMember, Row::KnownAlives].map(|row| row.title().0) {
        assert_eq!(svg.matches(title).count(), 0, "{title}");
    }
    // Three sizes and one, twice.
    assert_eq!(svg.matches("<circle").count(), 8, "{svg}");
    assert!(svg.contains("&lt;theirs&gt; 1.0") && svg.contains("10,000"), "{svg}");
    assert_eq!(plot::svg(&comparison), Ok(svg), "the same figures, the same plot");
    assert!(plot::svg(&Comparison::default()).unwrap_err().contains("nothing to plot"));
}

#[test]
fn what_is_left_to_chance_stands_with_its_middle_and_its_span() {
    let of = |name, runs: [f64; 3]| {
        let mut report = measure::report(name, "1.0", &[]);
        report.figures.push(Figure::new(Row::JoinAll, 1_000, runs.into(), None));
        report
    };
    let contenders = vec![of("ours", [9.0, 4.0, 5.0]), of("theirs", [10.0, 10.0, 10.0])];
    let text = Comparison { contenders, ..Comparison::default() }.markdown();
    assert!(text.contains("| 5, 4 to 9 ") && text.contains("| 10 (2.0×) "), "{text}");
}

#[test]
fn tables_go_between_the_marks_and_leave_the_rest() {
    let (begin, end) = (PLACE.begin, PLACE.end);
    let document = format!("before\n{begin}\nold\n{end}\nafter\n");
    let once = PLACE.replaced(&document, "| new |\n").unwrap();
    assert_eq!(once, format!("before\n{begin}\n\n| new |\n{end}\nafter\n"));
    assert_eq!(PLACE.replaced(&once, "| new |\n").unwrap(), once, "again is no change");
    assert!(PLACE.replaced("no marks", "").unwrap_err().contains(begin));
    assert!(PLACE.replaced(begin, "").unwrap_err().contains(end));
}

#[test]
fn a_contender_is_asked_for_what_is_wanted() {
    let mut wanted = wanted(&[10, 1_000]);
    assert_eq!(wanted.arguments(), ["--members=10,1000", "--repetitions=1"]);
    wanted.rows = vec![Row::PingAck, Row::HeapPerMember];
    assert_eq!(wanted.arguments()[2], "--rows=ping-ack,heap-per-member");
    wanted.cluster = vec![20, 30];
    assert_eq!(wanted.arguments()[2], "--cluster=20,30");
}

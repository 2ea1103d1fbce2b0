//! The picture of `top`: from its state to a frame of the terminal, of any size.
//!
//! Owns the layout. Must not know keys or sockets. Called by `mod`.

use super::panes;
use super::snapshot::{Snapshot, percent};
use super::state::{Pane, SparkSeries, TopState};
use super::units::{bytes, count, seconds, share, uptime};
use crate::grid::Grid;
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Clear, Paragraph, Row, Sparkline, Table, Tabs};
use std::time::Instant;

const HELP: [&str; 12] = [
    "q Esc Ctrl-C   quit",
    "Tab  Shift-Tab next or previous pane; 1 to 5 select one",
    "arrows PgUp PgDn Home End",
    "               scroll; left and right change the pane",
    "s  S           classes: sort by the next or previous column",
    "r              classes: reverse the order",
    "+  -           longer or shorter interval",
    "p  Space       pause, and go on",
    "?  h           this help",
    "",
    "Rates are of the last interval. A counter that was",
    "reset counts from 0.",
];

/// Lines that the parts need; on smaller screens the sparklines go first, then footer, tabs and summary.
const SPARK_LINES: u16 = 4;
const SUMMARY_LINES: u16 = 2;

fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

/// Draws everything.
pub(crate) fn draw(frame: &mut Frame<'_>, state: &mut TopState, now: Instant) {
    let area = frame.area();
    let height = area.height;
    let sparks = if height >= 20 && area.width >= 40 { SPARK_LINES } else { 0 };
    let (summary, tabs) = (if height >= 6 { SUMMARY_LINES } else { 0 }, u16::from(height >= 4));
    let footer = u16::from(height >= 10);
    let parts = [1, summary, sparks, tabs].map(Constraint::Length);
    let [title, numbers, lines, names, pane, keys] =
        Layout::vertical([parts[0], parts[1], parts[2], parts[3], Constraint::Min(0), Constraint::Length(footer)])
            .areas(area);
    frame.render_widget(title_line(state, now), title);
    if let Some(snapshot) = &state.latest {
        frame.render_widget(Paragraph::new(summary_lines(state, snapshot)), numbers);
        draw_sparks(frame, state, lines);
    }
    let titles = Pane::ALL.iter().enumerate().map(|(number, (_, name))| format!("{} {name}", number + 1));
    let tabs = Tabs::new(titles).select(state.pane.place());
    frame.render_widget(tabs.highlight_style(bold().add_modifier(Modifier::REVERSED)), names);
    draw_pane(frame, state, pane);
    let help = " q quit  Tab pane  s sort  r reverse  +/- interval  p pause  ? help";
    frame.render_widget(Paragraph::new(help).style(dim()), keys);
    if state.shows_help {
        draw_help(frame, area);
    }
}

/// Server, interval, and what is wrong.
fn title_line(state: &TopState, now: Instant) -> Line<'static> {
    let mut spans = vec![Span::styled(format!(" {} ", state.server), bold())];
    if let Some(snapshot) = &state.latest {
        let version = snapshot.text("version").to_owned();
        spans.push(Span::raw(format!(" {version}  up {}  ", uptime(snapshot.number("uptime")))));
    }
    spans.push(Span::raw(format!("every {}  ", seconds(state.interval))));
    let alarm = |color| Style::new().fg(color).add_modifier(Modifier::BOLD);
    if state.is_paused {
        spans.push(Span::styled("PAUSED ", alarm(Color::Yellow)));
    }
    match (state.stale(now), &state.trouble) {
        (None, None) if state.latest.is_none() => spans.push(Span::raw("connecting")),
        (None, None) => {}
        // A paused picture is old by intention.
        (Some(_), None) if state.is_paused => {}
        (stale, trouble) => {
            let age = stale.map_or(String::new(), |age| format!("STALE {}: ", seconds(age)));
            let trouble = trouble.as_deref().unwrap_or("no answer");
            spans.push(Span::styled(format!("{age}{trouble} "), alarm(Color::Red)));
        }
    }
    if let Some(snapshot) = &state.latest {
        for words in panes::alarms(snapshot, state.delta()) {
            spans.push(Span::styled(format!("{words} "), alarm(Color::Yellow)));
        }
    }
    Line::from(spans)
}

fn summary_lines(state: &TopState, snapshot: &Snapshot) -> Vec<Line<'static>> {
    let delta = state.delta();
    let rate = |name: &str| delta.map_or("-".to_owned(), |delta| count(delta.rate(&[name])));
    let traffic = |name: &str| delta.map_or("-".to_owned(), |delta| bytes(delta.rate(&[name])));
    let total = percent(snapshot.number("get_hits"), snapshot.number("get_misses"));
    let (used, limit) = (snapshot.number("bytes"), snapshot.number("limit_maxbytes"));
    let parts = [
        vec![
            ("gets/s", rate("cmd_get")),
            ("sets/s", rate("cmd_set")),
            ("hits", share(delta.and_then(|delta| delta.hit_percent()))),
            ("of all", share(total)),
            ("evictions/s", rate("evictions")),
            ("in/s", traffic("bytes_read")),
            ("out/s", traffic("bytes_written")),
        ],
        vec![
            ("items", count(snapshot.number("curr_items") as f64)),
            ("bytes", bytes(used as f64)),
            ("limit", bytes(limit as f64)),
            ("full", share(percent(used, limit.saturating_sub(used)))),
            ("connections", snapshot.number("curr_connections").to_string()),
            ("new/s", rate("total_connections")),
            ("threads", snapshot.number("threads").to_string()),
        ],
    ];
    parts
        .into_iter()
        .map(|line| {
            let spans = line.into_iter().flat_map(|(name, value)| {
                [Span::styled(format!(" {name} "), dim()), Span::styled(format!("{value} "), bold())]
            });
            Line::from_iter(spans)
        })
        .collect()
}

fn draw_sparks(frame: &mut Frame<'_>, state: &TopState, area: Rect) {
    let history = &state.history;
    let last = |series: &SparkSeries| series.points.back().copied().unwrap_or(0) as f64;
    let most = |series: &SparkSeries| series.points.iter().copied().max().unwrap_or(0) as f64;
    let all = [
        (format!("gets/s {} max {}", count(last(&history.gets)), count(most(&history.gets))), &history.gets, None),
        (format!("hits {:.1}%", last(&history.hits) / 10.0), &history.hits, Some(1000)),
        (format!("sets/s {} max {}", count(last(&history.sets)), count(most(&history.sets))), &history.sets, None),
        (format!("out/s {} max {}", bytes(last(&history.sent)), bytes(most(&history.sent))), &history.sent, None),
    ];
    let shown = if area.width >= 100 { 4 } else { 2 };
    let areas = Layout::horizontal(vec![Constraint::Ratio(1, shown); shown as usize]).split(area);
    for ((title, series, max), area) in all.into_iter().zip(areas.iter()) {
        let block = Block::new().borders(Borders::LEFT | Borders::TOP).title(title).border_style(dim());
        let width = usize::from(block.inner(*area).width);
        let hidden = series.points.len().saturating_sub(width);
        let line = Sparkline::default().block(block).data(series.points.iter().skip(hidden).copied());
        let line = line.style(Style::new().fg(Color::Cyan));
        frame.render_widget(if let Some(max) = max { line.max(max) } else { line }, *area);
    }
}

fn draw_pane(frame: &mut Frame<'_>, state: &mut TopState, area: Rect) {
    let Some(snapshot) = &state.latest else { return };
    let delta = state.delta();
    let (grid, sort) = match state.pane {
        Pane::Commands => (panes::commands(snapshot, delta), None),
        Pane::Classes => (panes::classes(snapshot, delta, state.sort, state.descending), Some(state.sort)),
        Pane::Special(number) => {
            let Some(report) = panes::special(snapshot, number) else {
                frame.render_widget(Paragraph::new(panes::absent(number)).alignment(Alignment::Center), area);
                return;
            };
            let pairs: Vec<String> = report.pairs.iter().map(|(name, value)| format!(" {name} {value} ")).collect();
            let [head, rest] =
                Layout::vertical([Constraint::Length(u16::from(!pairs.is_empty())), Constraint::Min(0)]).areas(area);
            frame.render_widget(Paragraph::new(pairs.concat()).style(dim()), head);
            let Some(grid) = report.grids().find(|grid| !grid.lines.is_empty()) else {
                frame.render_widget(Paragraph::new("none").alignment(Alignment::Center), rest);
                return;
            };
            state.scroll = draw_grid(frame, grid, None, false, state.scroll, rest);
            return;
        }
    };
    state.scroll = draw_grid(frame, &grid, sort, state.descending, state.scroll, area);
}

/// Draws the lines from `scroll` on, and returns it, lowered to where the last line is at the bottom.
fn draw_grid(
    frame: &mut Frame<'_>,
    grid: &Grid,
    sort: Option<usize>,
    descending: bool,
    scroll: usize,
    area: Rect,
) -> usize {
    let room = usize::from(area.height).saturating_sub(1);
    let scroll = scroll.min(grid.lines.len().saturating_sub(room));
    let columns = 0..grid.head.len();
    let is_right =
        |column: usize| column > 0 && (sort.is_some() || grid.head[column] != "key") && !is_words(grid, column);
    let cell = |column: usize, text: &str| {
        let side = if is_right(column) { Alignment::Right } else { Alignment::Left };
        Cell::from(Line::from(text.to_owned()).alignment(side))
    };
    let head = columns.clone().map(|column| {
        let name = &grid.head[column];
        if sort == Some(column) {
            let mark = if descending { '▼' } else { '▲' };
            cell(column, &format!("{name}{mark}")).style(Style::new().add_modifier(Modifier::UNDERLINED))
        } else {
            cell(column, name)
        }
    });
    let lines = (scroll..grid.lines.len()).take(room);
    let rows = lines.map(|line| Row::new(columns.clone().map(|column| cell(column, grid.cell(line, column)))));
    let widths = columns.clone().map(|column| {
        let width = grid.width(column) + usize::from(sort.is_some());
        Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX))
    });
    let table = Table::new(rows, widths).column_spacing(2).header(Row::new(head).style(bold()));
    frame.render_widget(table, area);
    scroll
}

/// Whether a column has words, which stand at its left end.
fn is_words(grid: &Grid, column: usize) -> bool {
    (0..grid.lines.len()).any(|line| grid.cell(line, column).starts_with(|c: char| c.is_alphabetic()))
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let width = HELP.iter().map(|line| line.len()).max().unwrap_or(0) as u16 + 4;
    let height = HELP.len() as u16 + 2;
    let (width, height) = (width.min(area.width), height.min(area.height));
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    frame.render_widget(Clear, place);
    let lines: Vec<Line<'_>> = HELP.iter().map(|line| Line::from(format!(" {line}"))).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" oxctl top ")), place);
}

#[cfg(test)]
mod tests {
    use super::super::panes::CLASS_COLUMNS;
    use super::super::snapshot::tests::snapshot;
    use super::*;
    use crate::failure::Failure;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
    use std::time::Duration;

    /// The screen as lines.
    fn screen(state: &mut TopState, width: u16, height: u16, now: Instant) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state, now)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(line).collect()
    }

    fn press(state: &mut TopState, code: KeyCode) {
        state.press(KeyEvent::new(code, KeyModifiers::NONE), CLASS_COLUMNS.len());
    }

    /// A state after two looks, one second apart.
    fn filled(start: Instant) -> TopState {
        let mut state = TopState::new("cache1:11211".to_owned(), Duration::from_secs(1));
        for (second, gets, hits) in [(0, "1000", "800"), (1, "2234", "1900")] {
            let general = [
                ("pid", "7"),
                ("version", "1.6.45"),
                ("uptime", "93784"),
                ("cmd_get", gets),
                ("get_hits", hits),
                ("get_misses", "300"),
                ("cmd_set", "50"),
                ("curr_items", "123456"),
                ("bytes", "33554432"),
                ("limit_maxbytes", "67108864"),
                ("curr_connections", "42"),
                ("evictions", "0"),
                ("bytes_read", "0"),
                ("bytes_written", "0"),
                ("total_connections", "50"),
                ("threads", "4"),
            ];
            let class = |size| {
                [("chunk_size", size), ("total_pages", 2), ("number", 5), ("used_chunks", 5), ("total_chunks", 10)]
            };
            let (small, large) = (class(96), class(16384));
            let latency: &[(&str, &str)] = &[("mode", "turn"), ("get:count", "10"), ("get:p99_us", "14.847")];
            let slow: &[(&str, &str)] = &[("7", "ts=1 us=12034 cmd=get key=page")];
            let special = [Some(latency), None, Some(slow)];
            state.take(Ok(snapshot(start, second, &general, &[(1, &small), (5, &large)], special)));
        }
        state
    }

    #[test]
    fn the_screen_shows_rates_memory_and_each_pane() {
        let start = Instant::now();
        let mut state = filled(start);
        let now = start + Duration::from_secs(1);
        let shown = screen(&mut state, 110, 30, now);
        assert_eq!(shown[0], " cache1:11211  1.6.45  up 1d 02:03:04  every 1 s");
        assert!(shown[1].contains("gets/s 1.23k") && shown[1].contains("hits 100.0%"), "{shown:?}");
        assert!(shown[2].contains("items 123k") && shown[2].contains("full 50.0%"), "{shown:?}");
        assert!(shown[3].contains("gets/s 1.23k max 1.23k") && shown[3].contains("out/s"), "{shown:?}");
        assert!(shown[7].contains("1 Commands") && shown[7].contains("5 Slow log"), "{shown:?}");
        assert!(shown[8].starts_with("command") && shown[9].starts_with("get"), "{shown:?}");
        assert!(shown[29].contains("? help"));
        press(&mut state, KeyCode::Char('2'));
        press(&mut state, KeyCode::Char('s'));
        press(&mut state, KeyCode::Char('r'));
        let shown = screen(&mut state, 110, 30, now);
        assert!(shown[8].contains("size▼") && shown[9].starts_with("5") && shown[9].contains("16.0K"), "{shown:?}");
        press(&mut state, KeyCode::Char('3'));
        let shown = screen(&mut state, 110, 30, now);
        assert!(
            shown[8].contains("mode turn") && shown[9].contains("p99_us") && shown[10].contains("14.847"),
            "{shown:?}"
        );
        press(&mut state, KeyCode::Char('4'));
        assert!(screen(&mut state, 110, 30, now)[8].contains("has no 'stats hotkeys'"));
        press(&mut state, KeyCode::Char('5'));
        assert!(screen(&mut state, 110, 30, now)[9].contains("12034"));
        press(&mut state, KeyCode::Char('?'));
        assert!(screen(&mut state, 110, 30, now).iter().any(|line| line.contains("Ctrl-C   quit")));
    }

    #[test]
    fn trouble_is_told_beside_the_last_picture() {
        let start = Instant::now();
        let mut state = TopState::new("cache1:11211".to_owned(), Duration::from_secs(1));
        assert!(screen(&mut state, 80, 24, start)[0].ends_with("connecting"));
        state.take(Err(Failure::Unavailable("cannot connect to cache1:11211: refused".to_owned())));
        assert!(screen(&mut state, 80, 24, start)[0].ends_with("cannot connect to cache1:11211: refused"));
        let mut state = filled(start);
        state.take(Err(Failure::Unavailable("gone".to_owned())));
        let shown = screen(&mut state, 80, 24, start + Duration::from_secs(13));
        assert!(shown[0].ends_with("STALE 12 s: gone") && shown[2].contains("items 123k"), "{shown:?}");
        let mut state = filled(start);
        press(&mut state, KeyCode::Char('p'));
        assert!(screen(&mut state, 80, 24, start + Duration::from_secs(100))[0].ends_with("PAUSED"));
    }

    #[test]
    fn every_size_can_be_drawn() {
        let start = Instant::now();
        let mut state = filled(start);
        for help in [false, true] {
            state.shows_help = help;
            for pane in Pane::ALL {
                state.pane = pane.0;
                for width in [0, 1, 3, 39, 40, 100, 200] {
                    for height in (0..=22).chain([60]) {
                        state.scroll = usize::MAX;
                        let shown = screen(&mut state, width, height, start);
                        assert!(help || width < 39 || height == 0 || shown[0].contains("cache1:11211"));
                    }
                }
            }
        }
        assert!(screen(&mut filled(start), 80, 2, start)[0].contains("up 1d"));
    }
}

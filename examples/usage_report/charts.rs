//! The page's charts: SVG that plotters draws, in colours that the page's style sheet may change.

use std::error::Error;
use std::fmt::Write;

use chrono::Timelike;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::figures::{Bucket, Row};
use crate::words::{compact, share, shortened};

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Outcome<T> = Result<T, Box<dyn Error>>;

const WIDTH: u32 = 1_000;
const TEXT_HEIGHT: i32 = 16;
/// What is around the columns of a chart.
const LEFT: i32 = 56;
const RIGHT: i32 = 16;
const BOTTOM: i32 = 28;

/// One of the figures that columns are made of.
pub type Part = (Paint, fn(&Bucket) -> u128);

/// What a colour is for. The page has a variable of this name for each, light and dark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    Text,
    Grid,
    Input,
    Output,
    Calls,
}

impl Paint {
    pub const ALL: [Self; 5] = [Self::Text, Self::Grid, Self::Input, Self::Output, Self::Calls];

    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Grid => "grid",
            Self::Input => "input",
            Self::Output => "output",
            Self::Calls => "calls",
        }
    }

    /// The colour in the SVG, by which the style sheet finds what it paints anew.
    pub fn hex(self) -> String {
        let RGBColor(red, green, blue) = self.color();
        format!("#{red:02X}{green:02X}{blue:02X}")
    }

    fn color(self) -> RGBColor {
        match self {
            Self::Text => RGBColor(0x4a, 0x55, 0x68),
            Self::Grid => RGBColor(0xe2, 0xe8, 0xf0),
            Self::Input => RGBColor(0x3b, 0x6f, 0xd8),
            Self::Output => RGBColor(0xe0, 0x82, 0x14),
            Self::Calls => RGBColor(0x1f, 0x94, 0x7a),
        }
    }
}

/// A column for each bucket, of the given parts one on top of the other; grey up to the top behind
/// a bucket that is not complete.
pub fn columns(buckets: &[Bucket], height: u32, parts: &[Part]) -> Outcome<String> {
    let count = i32::try_from(buckets.len())?.max(1);
    // Places of whole pixels, so that all columns are equally wide; plotters' last coordinate is
    // on the last pixel, which is one more.
    let place = (i32::try_from(WIDTH)? - LEFT - RIGHT).div_euclid(count).max(1);
    let width = u32::try_from(LEFT + RIGHT + place * count + 1)?;
    let whole = |bucket: &Bucket| parts.iter().map(|(_, part)| part(bucket)).sum::<u128>();
    let peak = buckets.iter().map(whole).max().unwrap_or(0);
    let top = peak + peak / 20 + 1;
    let mut svg = String::new();
    {
        let canvas = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        let mut chart = ChartBuilder::on(&canvas)
            .margin_top(10)
            .margin_right(RIGHT)
            .x_label_area_size(BOTTOM)
            .y_label_area_size(LEFT)
            .build_cartesian_2d((0..count).with_key_points(ticks(buckets, place)), 0..top)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .max_light_lines(1)
            .bold_line_style(Paint::Grid.color())
            .axis_style(Paint::Grid.color())
            .label_style(text_style(Paint::Text))
            .y_labels(height as usize / 40)
            .y_label_formatter(&|tokens| compact(*tokens))
            .x_label_formatter(&|place| time_of(buckets, *place))
            .draw()?;
        let gap = if place > 2 { (place.unsigned_abs() / 12).max(1) } else { 0 };
        for (place, bucket) in (0..count).zip(buckets) {
            if !bucket.is_complete {
                let corners = [(place, 0), (place + 1, top)];
                chart.draw_series([Rectangle::new(corners, Paint::Grid.color().filled())])?;
            }
            let mut low = 0;
            for (paint, part) in parts {
                let high = low + part(bucket);
                let corners = [(place, low), (place + 1, high)];
                let mut column = Rectangle::new(corners, paint.color().filled());
                column.set_margin(0, 0, 0, gap);
                if high > low {
                    chart.draw_series([column])?;
                }
                low = high;
            }
        }
        canvas.present()?;
    }
    add_hints(&mut svg, buckets, place, i32::try_from(height)?);
    Ok(svg)
}

/// The places below which a time stands: as many as there is room for.
fn ticks(buckets: &[Bucket], place: i32) -> Vec<i32> {
    const TIME_WIDTH: i32 = 44;
    let minutes = [5, 15, 60, 120, 180].into_iter();
    let step = minutes.clone().find(|minutes| minutes / 5 * place >= TIME_WIDTH).unwrap_or(360);
    let minute_of_day =
        |bucket: &Bucket| bucket.start.num_seconds_from_midnight().cast_signed() / 60;
    let is_tick = |bucket: &Bucket| minute_of_day(bucket) % step == 0;
    (0..).zip(buckets).filter(|(_, bucket)| is_tick(bucket)).map(|(place, _)| place).collect()
}

fn time_of(buckets: &[Bucket], place: i32) -> String {
    let bucket = usize::try_from(place).ok().and_then(|place| buckets.get(place));
    bucket.map_or_else(String::new, |bucket| bucket.start.format("%H:%M").to_string())
}

/// Lays what browsers show under the pointer over each column: plotters draws no titles.
fn add_hints(svg: &mut String, buckets: &[Bucket], place: i32, height: i32) {
    let end = svg.rfind("</svg>").unwrap_or(svg.len());
    svg.truncate(end);
    for (bucket, left) in buckets.iter().zip((LEFT..).step_by(place.unsigned_abs() as usize)) {
        let _ = writeln!(
            svg,
            "<rect class=\"hint\" x=\"{left}\" y=\"0\" width=\"{place}\" height=\"{}\">\
             <title>{} UTC: {} calls, {} tokens in, {} out{}</title></rect>",
            height - BOTTOM,
            bucket.start.format("%H:%M"),
            example_support::text::grouped(bucket.calls),
            crate::words::number(bucket.input_tokens),
            crate::words::number(bucket.output_tokens),
            if bucket.is_complete { "" } else { ", not all kept" },
        );
    }
    svg.push_str("</svg>\n");
}

/// A bar for each row, of the tokens in and then those out.
pub fn bars(rows: &[Row], total_tokens: u128) -> Outcome<String> {
    const NAME_WIDTH: i32 = 220;
    const NAME_LETTERS_MAX: usize = 27;
    const FIGURE_WIDTH: i32 = 150;
    const PLACE: i32 = 34;
    const BAR: i32 = 20;
    let room = u128::try_from(i32::try_from(WIDTH)? - NAME_WIDTH - FIGURE_WIDTH)?;
    let top = rows.iter().map(|row| row.totals.total_tokens).max().unwrap_or(0).max(1);
    let pixels = |tokens: u128| i32::try_from(tokens * room / top);
    let height = u32::try_from(rows.len())? * PLACE.unsigned_abs();
    let mut svg = String::new();
    {
        let canvas = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        for (row, upper) in rows.iter().zip((0..).step_by(PLACE as usize)) {
            let (middle, totals) = (upper + PLACE / 2, &row.totals);
            let split = NAME_WIDTH + pixels(totals.total_input_tokens)?;
            let end = NAME_WIDTH + pixels(totals.total_tokens)?;
            write_text(
                &canvas,
                &shortened(&row.name, NAME_LETTERS_MAX),
                (NAME_WIDTH - 12, middle),
                HPos::Right,
            )?;
            for (paint, left, right) in
                [(Paint::Input, NAME_WIDTH, split), (Paint::Output, split, end)]
            {
                let corners = [(left, middle - BAR / 2), (right, middle + BAR / 2)];
                if right > left {
                    canvas.draw(&Rectangle::new(corners, paint.color().filled()))?;
                }
            }
            let tokens = totals.total_tokens;
            let figure = format!("{} ({})", compact(tokens), share(tokens, total_tokens));
            write_text(&canvas, &figure, (end + 10, middle), HPos::Left)?;
        }
        canvas.present()?;
    }
    Ok(svg)
}

fn text_style(paint: Paint) -> TextStyle<'static> {
    // plotters' sizes are those of a line, of which the letters take four fifths.
    ("sans-serif", TEXT_HEIGHT).into_font().color(&paint.color())
}

fn write_text(canvas: &Canvas<'_>, text: &str, at: (i32, i32), side: HPos) -> Outcome<()> {
    let style = text_style(Paint::Text).pos(Pos::new(side, VPos::Center));
    Ok(canvas.draw(&Text::new(text, at, style))?)
}

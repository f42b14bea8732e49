//! Text in columns, two spaces apart.

/// Each column as wide as its widest cell, the last one as wide as it is.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (index, cell) in row.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(index) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let line = |row: &Vec<String>| {
        let last = row.len().saturating_sub(1);
        let cells = row.iter().zip(&widths).enumerate().map(|(index, (cell, &width))| match index == last {
            true => cell.clone(),
            false => format!("{cell:width$}"),
        });
        cells.collect::<Vec<_>>().join("  ")
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_line_up_and_nothing_follows_the_last() {
        let rows = [["b", "1.2.3.4:7946", "x=1"], ["a-né", "1:2", ""]];
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.map(Into::into).into()).collect();
        assert_eq!(columns(&rows), "b     1.2.3.4:7946  x=1\na-né  1:2           ");
        assert_eq!(columns(&[]), "");
    }
}

// A notation of nested values written, read and walked: enumerations, boxes and matches.
mod bench;

use std::collections::BTreeMap;

enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

fn make(seed: &mut u32, depth: u32) -> Value {
    match bench::next(seed) % if depth == 0 { 4 } else { 8 } {
        0 => Value::Null,
        1 => Value::Bool(bench::next(seed) % 2 == 0),
        2 => Value::Number((bench::next(seed) % 100_000) as f64 / 8.0),
        3 => Value::Text(format!("text {} \"of\" a value", bench::next(seed) % 1000)),
        4 | 5 => Value::List((0..5).map(|_| make(seed, depth - 1)).collect()),
        _ => Value::Map((0..5).map(|i| (format!("key{}", i), make(seed, depth - 1))).collect()),
    }
}

fn quote(out: &mut String, s: &str) {
    out.push('"');
    for c in s.chars() {
        if c == '"' || c == '\\' {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

fn write(out: &mut String, v: &Value) {
    match v {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(n) => out.push_str(&n.to_string()),
        Value::Text(s) => quote(out, s),
        Value::List(l) => {
            out.push('[');
            for (i, v) in l.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(out, v);
            }
            out.push(']');
        }
        Value::Map(m) => {
            out.push('{');
            for (i, (k, v)) in m.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                quote(out, k);
                out.push(':');
                write(out, v);
            }
            out.push('}');
        }
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    fn expect(&mut self, word: &str) {
        assert!(self.text[self.at..].starts_with(word.as_bytes()), "no {} at {}", word, self.at);
        self.at += word.len();
    }

    fn string(&mut self) -> String {
        self.expect("\"");
        let mut s = Vec::new();
        while self.peek() != b'"' {
            if self.peek() == b'\\' {
                self.at += 1;
            }
            s.push(self.peek());
            self.at += 1;
        }
        self.at += 1;
        String::from_utf8(s).unwrap()
    }

    fn value(&mut self) -> Value {
        match self.peek() {
            b'n' => {
                self.expect("null");
                Value::Null
            }
            b't' => {
                self.expect("true");
                Value::Bool(true)
            }
            b'f' => {
                self.expect("false");
                Value::Bool(false)
            }
            b'"' => Value::Text(self.string()),
            b'[' => {
                let mut l = Vec::new();
                while self.peek() != b']' {
                    self.at += 1;
                    l.push(self.value());
                }
                self.at += 1;
                Value::List(l)
            }
            b'{' => {
                let mut m = BTreeMap::new();
                while self.peek() != b'}' {
                    self.at += 1;
                    let k = self.string();
                    self.expect(":");
                    m.insert(k, self.value());
                }
                self.at += 1;
                Value::Map(m)
            }
            _ => {
                let from = self.at;
                while matches!(self.peek(), b'0'..=b'9' | b'.' | b'-') {
                    self.at += 1;
                }
                Value::Number(std::str::from_utf8(&self.text[from..self.at]).unwrap().parse().unwrap())
            }
        }
    }
}

fn walk(v: &Value) -> u64 {
    match v {
        Value::Null => 1,
        Value::Bool(b) => 2 + *b as u64,
        Value::Number(n) => (*n * 8.0) as u64,
        Value::Text(s) => s.len() as u64,
        Value::List(l) => l.iter().fold(5, |sum: u64, v| sum.wrapping_mul(31).wrapping_add(walk(v))),
        Value::Map(m) => m.values().fold(7, |sum: u64, v| sum.wrapping_mul(37).wrapping_add(walk(v))),
    }
}

fn main() {
    let n = bench::size(10);
    bench::timed(|| {
        let mut seed = 61;
        let whole = Value::List((0..20).map(|_| make(&mut seed, 6)).collect());
        (0..n).fold(0, |sum: u64, _| {
            let mut text = String::new();
            write(&mut text, &whole);
            let back = Reader { text: text.as_bytes(), at: 0 }.value();
            sum.wrapping_mul(31).wrapping_add(walk(&back)).wrapping_add(text.len() as u64)
        })
    });
}

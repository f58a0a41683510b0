//! What types are called, and which of their fields have no line of documentation.

use syn::visit::{self, Visit};

use super::sources::{Source, is_for_tests};

/// Words that no type may be called by, nor end in: they say nothing, or said something that only
/// we understood.
const WORN: [&str; 17] = [
    "Common", "Data", "Desk", "Extra", "Family", "Gone", "Helper", "Impl", "Info", "Item", "Kids",
    "Manager", "Misc", "Todo", "Util", "Utils", "Wrapper",
];

/// Where every field has a line: what is to be read before anything is changed.
const DOCUMENTED: [&str; 3] =
    ["crates/quell-core/src/", "crates/quell/src/node/", "crates/quell/src/time/"];

/// Every type of a crate that a worn word names.
pub(super) fn with_worn_names() -> Vec<String> {
    let named = |source: &Source| {
        let types = Types::of(source).names.into_iter();
        let worn = types.filter(|name| WORN.iter().any(|word| name.ends_with(word)));
        worn.map(|name| format!("{}: {name}", source.path)).collect::<Vec<_>>()
    };
    Source::within("crates/").flat_map(named).collect()
}

/// Every field of a struct of the core that has no line.
pub(super) fn fields_without_a_line() -> Vec<String> {
    let sources = DOCUMENTED.into_iter().flat_map(Source::within);
    let bare = |source: &Source| {
        let fields = Types::of(source).bare_fields.into_iter();
        fields.map(|field| format!("{}: {field}", source.path)).collect::<Vec<_>>()
    };
    sources.flat_map(bare).collect()
}

/// The types of a file, without those that are compiled for tests only.
#[derive(Default)]
struct Types {
    names: Vec<String>,
    bare_fields: Vec<String>,
}

impl Types {
    fn of(source: &Source) -> Self {
        let mut types = Self::default();
        types.visit_file(&syn::parse_file(&source.text).unwrap());
        types
    }
}

impl<'ast> Visit<'ast> for Types {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.names.push(item.ident.to_string());
        for field in &item.fields {
            let is_documented = field.attrs.iter().any(|line| line.path().is_ident("doc"));
            if let (false, Some(name)) = (is_documented, &field.ident) {
                self.bare_fields.push(format!("{}.{name}", item.ident));
            }
        }
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.names.push(item.ident.to_string());
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.names.push(item.ident.to_string());
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.names.push(item.ident.to_string());
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_for_tests(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }
}

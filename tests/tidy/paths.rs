//! The paths that a file names: in imports, in code, and in what it calls macros with.

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use super::sources::is_for_tests;

/// Every path of a file, without what is compiled for tests only.
#[derive(Default)]
pub(super) struct Paths(pub(super) Vec<Vec<String>>);

impl Paths {
    fn flatten(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.flatten(&with(&path.ident), &path.tree),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.flatten(before, item));
            }
            syn::UseTree::Name(name) => self.0.push(with(&name.ident)),
            syn::UseTree::Rename(rename) => self.0.push(with(&rename.ident)),
            syn::UseTree::Glob(_) => self.0.push(before.to_vec()),
        }
    }

    /// Adds what looks like a path in what a macro is called with.
    fn add_all(&mut self, tokens: TokenStream) {
        let (mut path, mut colons) = (Vec::new(), 0);
        for token in tokens {
            if !matches!(&token, TokenTree::Punct(mark) if mark.as_char() == ':') {
                let goes_on = colons == 2 && matches!(token, TokenTree::Ident(_));
                if !goes_on {
                    self.0.extend(Some(std::mem::take(&mut path)).filter(|path| path.len() > 1));
                }
            }
            match token {
                TokenTree::Ident(name) => path.push(name.to_string()),
                TokenTree::Group(group) => self.add_all(group.stream()),
                TokenTree::Punct(mark) if mark.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            colons = 0;
        }
        self.0.extend(Some(path).filter(|path| path.len() > 1));
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_for_tests(&item.attrs) {
            self.flatten(&[], &item.tree);
        }
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.add_all(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_for_tests(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}

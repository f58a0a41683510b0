//! The Rust files of the repository, read and parsed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};

use super::paths::Paths;

/// The top of the repository.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Reads a file of the repository.
pub(super) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// What there is to know of one Rust file.
pub(super) struct Source {
    /// From the top, with slashes.
    pub(super) path: String,
    pub(super) text: String,
    /// Every function with a body, tests included.
    pub(super) functions: Vec<Function>,
    /// The modules that it declares.
    pub(super) modules: Vec<String>,
    /// Those of them that are compiled for tests only.
    pub(super) test_modules: Vec<String>,
    pub(super) attributes: Vec<Attribute>,
    /// The files that `#[path]` and `include!` name, relative to its folder.
    pub(super) included: Vec<String>,
    /// Name and content of every call of a macro.
    pub(super) macros: Vec<(String, String)>,
    /// Its functions with a body and its `impl` blocks, without what is compiled for tests only.
    pub(super) logic: Vec<String>,
    /// Every path that it names, imports included, without what is compiled for tests only.
    pub(super) paths: Vec<Vec<String>>,
    /// Where it starts a task or a thread.
    pub(super) spawns: Vec<String>,
    /// The functions that are tests.
    pub(super) tests: Vec<String>,
    /// The types that it declares, without what is compiled for tests only.
    pub(super) types: Vec<String>,
    /// The named fields of its types that have no documentation, without what is compiled for tests
    /// only.
    pub(super) bare_fields: Vec<String>,
}

pub(super) struct Function {
    pub(super) name: String,
    pub(super) lines: usize,
}

pub(super) struct Attribute {
    pub(super) name: String,
    pub(super) tokens: String,
}

impl Source {
    /// Reads every Rust file that belongs to us, once.
    pub(super) fn all() -> &'static [Self] {
        static ALL: OnceLock<Vec<Source>> = OnceLock::new();
        ALL.get_or_init(|| {
            let mut sources = Vec::new();
            let mut folders: Vec<_> =
                ["crates", "tests", "benches"].iter().map(|name| root().join(name)).collect();
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(&folder).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                        folders.push(path);
                    } else if path.extension().is_some_and(|extension| extension == "rs") {
                        sources.push(Self::read(&path));
                    }
                }
            }
            assert!(sources.len() > 50, "this is not the repository: {} files", sources.len());
            sources
        })
    }

    /// Those in a folder.
    pub(super) fn within(folder: &'static str) -> impl Iterator<Item = &'static Self> {
        Self::all().iter().filter(move |source| source.path.starts_with(folder))
    }

    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let path = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
        Self::parse(path, &text)
    }

    /// Parses a file that has this path and this text.
    pub(super) fn parse(path: String, text: &str) -> Self {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let modules = file.items.iter().filter_map(|item| match item {
            syn::Item::Mod(module) => Some(module),
            _ => None,
        });
        let name = |module: &syn::ItemMod| module.ident.to_string();
        let for_tests = modules.clone().filter(|module| is_for_tests(&module.attrs));
        let Types { names: types, bare_fields } = visited(Types::default(), &file);
        Self {
            path,
            text: text.to_owned(),
            types,
            bare_fields,
            test_modules: for_tests.map(name).collect(),
            modules: modules.map(name).collect(),
            functions: visited(Functions(Vec::new()), &file).0,
            attributes: visited(Attributes(Vec::new()), &file).0,
            included: visited(Included(Vec::new()), &file).0,
            macros: visited(Macros(Vec::new()), &file).0,
            logic: visited(Logic(Vec::new()), &file).0,
            paths: visited(Paths::default(), &file).0,
            spawns: visited(Spawns(Vec::new()), &file).0,
            tests: visited(Tests(Vec::new()), &file).0,
        }
    }
}

fn visited<V: for<'ast> Visit<'ast>>(mut visitor: V, file: &syn::File) -> V {
    visitor.visit_file(file);
    visitor
}

struct Functions(Vec<Function>);

impl Functions {
    fn note(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let start = signature.fn_token.span.start().line;
        let end = block.brace_token.span.close().end().line;
        self.0.push(Function { name: signature.ident.to_string(), lines: end - start + 1 });
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.note(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.note(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }
}

struct Attributes(Vec<Attribute>);

impl<'ast> Visit<'ast> for Attributes {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let name = attribute.path().segments.last().map(|last| last.ident.to_string());
        let tokens = match &attribute.meta {
            syn::Meta::List(list) => format!("({})", list.tokens),
            _ => String::new(),
        };
        self.0.push(Attribute { name: name.unwrap_or_default(), tokens });
    }
}

struct Included(Vec<String>);

impl<'ast> Visit<'ast> for Included {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let file = match &attribute.meta {
            syn::Meta::NameValue(pair) if pair.path.is_ident("path") => literal(&pair.value),
            // `#[cfg_attr(test, path = "…")]`
            syn::Meta::List(list) if list.path.is_ident("cfg_attr") => {
                let tokens = list.tokens.to_string();
                let after = tokens.split_once("path = \"").map(|(_, after)| after);
                after.and_then(|after| Some(after.split_once('"')?.0.to_owned()))
            }
            _ => None,
        };
        self.0.extend(file);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if call.path.is_ident("include") {
            self.0.extend(syn::parse2(call.tokens.clone()).ok().as_ref().and_then(literal));
        }
    }
}

fn literal(value: &syn::Expr) -> Option<String> {
    match value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

struct Macros(Vec<(String, String)>);

impl<'ast> Visit<'ast> for Macros {
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let name = call.path.segments.last().map(|last| last.ident.to_string());
        self.0.push((name.unwrap_or_default(), call.tokens.to_string()));
    }
}

struct Logic(Vec<String>);

impl<'ast> Visit<'ast> for Logic {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.0.push(format!("fn {}", item.sig.ident));
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.0.extend(item.default.as_ref().map(|_| format!("fn {}", item.sig.ident)));
    }

    fn visit_item_impl(&mut self, _: &'ast syn::ItemImpl) {
        self.0.push("impl".to_owned());
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_for_tests(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }
}

/// Tells whether something is compiled for tests only.
pub(super) fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) if list.path.is_ident("cfg") => {
            list.parse_args().is_ok_and(|condition| needs_tests(&condition))
        }
        _ => false,
    })
}

/// Tells whether a condition is `test`, or `all(…)` of that and more.
fn needs_tests(condition: &syn::Meta) -> bool {
    match condition {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) if list.path.is_ident("all") => {
            let parts = list.parse_args_with(Punctuated::<_, syn::Token![,]>::parse_terminated);
            parts.is_ok_and(|parts| parts.iter().any(needs_tests))
        }
        _ => false,
    }
}

struct Spawns(Vec<String>);

impl<'ast> Visit<'ast> for Spawns {
    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let name = call.method.to_string();
        let receiver = match &*call.receiver {
            syn::Expr::Field(field) => match &field.member {
                syn::Member::Named(name) => name.to_string(),
                syn::Member::Unnamed(_) => String::new(),
            },
            syn::Expr::Path(path) => {
                path.path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default()
            }
            _ => String::new(),
        };
        if name.starts_with("spawn") && ["runtime", "handle"].contains(&&*receiver) {
            self.0.push(format!("{receiver}.{name}(..)"));
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        let names: Vec<_> =
            path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let [.., module, last] = &names[..] else { return };
        let spawns = last.starts_with("spawn") || last == "Builder";
        if spawns && ["tokio", "task", "thread"].contains(&module.as_str()) {
            self.0.push(names.join("::"));
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_for_tests(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }
}

struct Tests(Vec<String>);

impl<'ast> Visit<'ast> for Tests {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let is_test = |attribute: &syn::Attribute| {
            attribute.path().segments.last().is_some_and(|last| last.ident == "test")
        };
        if item.attrs.iter().any(is_test) {
            self.0.push(item.sig.ident.to_string());
        }
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        // Tests that a macro makes, as proptest's, are named in its tokens.
        let text = call.tokens.to_string();
        if !text.contains("# [test]") {
            return;
        }
        for part in text.split("# [test]").skip(1) {
            let name = part.split("fn ").nth(1).and_then(|rest| rest.split([' ', '(']).next());
            self.0.extend(name.map(str::to_owned));
        }
    }
}

/// The types of a file, without those that are compiled for tests only.
#[derive(Default)]
struct Types {
    names: Vec<String>,
    bare_fields: Vec<String>,
}

impl Types {
    fn note_fields(&mut self, owner: &str, fields: &syn::Fields) {
        for field in fields {
            let is_documented = field.attrs.iter().any(is_a_line_of_documentation);
            if let (false, Some(name)) = (is_documented, &field.ident) {
                self.bare_fields.push(format!("{owner}.{name}"));
            }
        }
    }
}

/// Tells whether an attribute is documentation that says something.
fn is_a_line_of_documentation(attribute: &syn::Attribute) -> bool {
    match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("doc") => {
            literal(&pair.value).is_some_and(|line| !line.trim().is_empty())
        }
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Types {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.names.push(item.ident.to_string());
        self.note_fields(&item.ident.to_string(), &item.fields);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.names.push(item.ident.to_string());
        for variant in &item.variants {
            self.note_fields(&format!("{}::{}", item.ident, variant.ident), &variant.fields);
        }
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

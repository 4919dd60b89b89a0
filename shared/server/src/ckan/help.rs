//! The actions there are, and what `help_show` says of them.

use super::{Context, Outcome, dataset, group, input::Args, resource, search, site, tag};

/// An action.
pub(super) struct Action {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
}

/// What an action does.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Answers.
    Read(fn(&Context<'_>, &Args) -> Outcome),
    /// Would change something, which needs an account of CKAN's; there is none.
    Write,
}

const fn read(
    name: &'static str,
    run: fn(&Context<'_>, &Args) -> Outcome,
    help: &'static str,
) -> Action {
    Action { name, kind: Kind::Read(run), help }
}

const fn write(name: &'static str) -> Action {
    let help = "此接口只读，请在区节点登记和修改目录。 / This interface is read-only; records are edited at the \
                nodes of the districts.";
    Action { name, kind: Kind::Write, help }
}

/// Every action, by name.
pub(super) const ACTIONS: &[Action] = &[
    read("site_list", site::empty_list, "没有其他站点。 / There are no other sites."),
    read("status_show", site::status_show, "站点名称与版本。 / Name and version of the site."),
    read(
        "help_show",
        site::help_show,
        "说明一个动作。参数 name。 / What an action does. Argument: name.",
    ),
    read("license_list", site::license_list, "许可列表。 / The licences of datasets."),
    read("user_list", site::empty_list, "不公开用户。 / Users are not public: an empty list."),
    read("user_show", site::nobody, "不公开用户。 / Users are not public."),
    read("vocabulary_list", site::empty_list, "没有受控词表。 / There are no tag vocabularies."),
    read("vocabulary_show", site::nobody, "没有受控词表。 / There are no tag vocabularies."),
    read(
        "organization_list_for_user",
        site::empty_list,
        "不区分用户。 / There are no users: an empty list.",
    ),
    read("group_list_authz", site::empty_list, "不区分用户。 / There are no users: an empty list."),
    read(
        "package_list",
        dataset::package_list,
        "全部数据集的名称，按名称排序。参数 limit、offset。 / Names of all datasets, in order. Arguments: limit, offset.",
    ),
    read(
        "current_package_list_with_resources",
        dataset::current_list,
        "数据集全文，最近变更的在前。参数 limit、offset。 / Datasets in full, last changed first. Arguments: limit, offset.",
    ),
    read(
        "package_show",
        dataset::package_show,
        "一个数据集。参数 id：名称或 UUID。 / One dataset. Argument id: its name or UUID.",
    ),
    read(
        "package_search",
        search::package_search,
        "检索数据集。参数 q、fq、fq_list、sort、rows（最多1000）、start、fl、facet、facet.field、facet.limit、\
         facet.mincount。 / Searches datasets. Arguments: q, fq, fq_list, sort, rows (1000 at most), start, fl, facet, \
         facet.field, facet.limit, facet.mincount. Spaces mean AND; `a OR b c` is `(a OR b) AND c`.",
    ),
    read(
        "package_autocomplete",
        dataset::package_autocomplete,
        "名称或标题含此文字的数据集。参数 q、limit。 / Datasets whose name or title holds a text. Arguments: q, limit.",
    ),
    read(
        "package_relationships_list",
        dataset::relationships,
        "没有此类关系。 / Datasets have no such relationships: an empty list.",
    ),
    read(
        "resource_show",
        resource::resource_show,
        "一个资源。参数 id。 / One resource. Argument: id.",
    ),
    read(
        "resource_search",
        resource::resource_search,
        "检索资源，如 query=format:CSV。参数 query、limit、offset。 / Searches resources, e.g. query=format:CSV. \
         Arguments: query, limit, offset.",
    ),
    read(
        "resource_view_list",
        resource::view_list,
        "没有视图。 / Resources have no views: an empty list.",
    ),
    read("resource_view_show", site::nobody, "没有视图。 / Resources have no views."),
    read(
        "format_autocomplete",
        resource::format_autocomplete,
        "含此文字的格式。参数 q、limit。 / Formats that hold a text. Arguments: q, limit.",
    ),
    read(
        "datastore_search",
        resource::datastore_search,
        "此处没有表格数据。 / There are no tables here.",
    ),
    read(
        "datastore_info",
        resource::datastore_info,
        "此处没有表格数据。 / There are no tables here.",
    ),
    read(
        "organization_list",
        group::organization_list,
        "提供部门。参数 all_fields、organizations、sort、limit、offset。 / Departments. Arguments: all_fields, \
         organizations, sort, limit, offset.",
    ),
    read(
        "organization_show",
        group::organization_show,
        "一个部门。参数 id、include_datasets。 / One department. Arguments: id, include_datasets.",
    ),
    read(
        "organization_autocomplete",
        group::organization_autocomplete,
        "名称含此文字的部门。参数 q、limit。 / Departments whose name holds a text. Arguments: q, limit.",
    ),
    read(
        "group_list",
        group::group_list,
        "主题。参数 all_fields、groups、sort、limit、offset。 / Themes. Arguments: all_fields, groups, sort, limit, offset.",
    ),
    read(
        "group_show",
        group::group_show,
        "一个主题。参数 id、include_datasets。 / One theme. Arguments: id, include_datasets.",
    ),
    read(
        "group_autocomplete",
        group::group_autocomplete,
        "名称含此文字的主题。参数 q、limit。 / Themes whose name holds a text. Arguments: q, limit.",
    ),
    read(
        "group_package_show",
        group::group_package_show,
        "一个主题的数据集。参数 id、limit。 / Datasets of a theme. Arguments: id, limit.",
    ),
    read(
        "tag_list",
        tag::tag_list,
        "标签。参数 query、all_fields。 / Tags. Arguments: query, all_fields.",
    ),
    read(
        "tag_show",
        tag::tag_show,
        "一个标签。参数 id、include_datasets。 / One tag. Arguments: id, include_datasets.",
    ),
    read(
        "tag_search",
        tag::tag_search,
        "检索标签。参数 query、limit、offset。 / Searches tags. Arguments: query, limit, offset.",
    ),
    read(
        "tag_autocomplete",
        tag::tag_autocomplete,
        "含此文字的标签。参数 query、limit。 / Tags that hold a text. Arguments: query, limit.",
    ),
    write("package_create"),
    write("package_update"),
    write("package_patch"),
    write("package_delete"),
    write("package_revise"),
    write("package_resource_reorder"),
    write("package_owner_org_update"),
    write("package_relationship_create"),
    write("dataset_purge"),
    write("resource_create"),
    write("resource_update"),
    write("resource_patch"),
    write("resource_delete"),
    write("resource_view_create"),
    write("organization_create"),
    write("organization_update"),
    write("organization_patch"),
    write("organization_delete"),
    write("organization_purge"),
    write("organization_member_create"),
    write("group_create"),
    write("group_update"),
    write("group_patch"),
    write("group_delete"),
    write("group_purge"),
    write("group_member_create"),
    write("member_create"),
    write("member_delete"),
    write("tag_create"),
    write("tag_delete"),
    write("vocabulary_create"),
    write("vocabulary_update"),
    write("vocabulary_delete"),
    write("user_create"),
    write("user_update"),
    write("user_delete"),
    write("api_token_create"),
    write("bulk_update_private"),
    write("bulk_update_public"),
    write("bulk_update_delete"),
];

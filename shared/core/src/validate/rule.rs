//! Every rule of the check: its id, its weight, what it says and what to do about it.
//!
//! An id starts with the requirement it serves. Ids are kept for good: clerks, pages and the
//! manual refer to them.

use super::{Fault, Severity, Text};
use crate::record::{limit, text};

/// One rule of the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Id, e.g. `R04.title.missing`.
    pub id: &'static str,
    /// How grave a breach is.
    pub severity: Severity,
    /// What is wrong, Chinese.
    pub zh: &'static str,
    /// What is wrong, English.
    pub en: &'static str,
    /// What to do, Chinese.
    pub remedy_zh: &'static str,
    /// What to do, English.
    pub remedy_en: &'static str,
}

impl Rule {
    /// A breach of this rule at a field.
    pub fn fault(&self, field: impl Into<String>, value: Option<&str>) -> Fault {
        let value = value.map(|raw| text::preview(&text::line(raw), limit::FAULT_VALUE_CHARS_MAX));
        Fault {
            rule: self.id,
            field: field.into(),
            severity: self.severity,
            message: Text { zh: self.zh.to_owned(), en: self.en.to_owned() },
            remedy: Text { zh: self.remedy_zh.to_owned(), en: self.remedy_en.to_owned() },
            value: value.filter(|value| !value.is_empty()),
        }
    }
}

macro_rules! rules {
    ($(
        $name:ident = $severity:ident $id:literal:
        $zh:literal / $en:literal => $rzh:literal / $ren:literal;
    )+) => {
        $(pub(crate) const $name: Rule = Rule {
            id: $id,
            severity: Severity::$severity,
            zh: $zh,
            en: $en,
            remedy_zh: $rzh,
            remedy_en: $ren,
        };)+

        /// Every rule.
        ///
        /// Source: plan 二(一)2 and the constraints of the metadata schema.
        pub const RULES: &[Rule] = &[$($name),+];
    };
}

rules! {
    TITLE_MISSING = Error "R04.title.missing":
        "缺少信息资源名称" / "the title is missing"
        => "填写名称,例如“停车场泊位信息”" / "enter a title that says what the data are";
    TITLE_LONG = Error "R04.title.long":
        "名称超过200字" / "the title has more than 200 characters"
        => "缩短名称,细节写进摘要" / "shorten it; details belong in the abstract";
    TITLE_CONTROL = Error "R04.title.control":
        "名称中有控制字符" / "the title holds control characters"
        => "删除名称,重新手工输入" / "delete the title and type it again";
    TITLE_BREAK = Info "R05.title.break":
        "名称中的换行或制表符已换成空格" / "a line break or tab in the title became a space"
        => "核对名称" / "check the title";
    TEXT_GARBLED = Warning "R05.text.garbled":
        "文字中有乱码(�)" / "the text holds replacement characters (�)"
        => "按正确编码(GB18030或UTF-8)重新导入,或重新输入" / "import again with the right encoding, or retype";
    TEXT_LONG = Error "R04.text.long":
        "文字过长" / "the text is too long"
        => "单行不超过500字,说明不超过2000字" / "at most 500 characters a line, 2,000 for a note";
    ABSTRACT_MISSING = Warning "R05.abstract.missing":
        "缺少摘要" / "the abstract is missing"
        => "用一两句话说明数据内容、范围和用途" / "say in a sentence or two what the data cover";
    ABSTRACT_SAME = Warning "R05.abstract.same":
        "摘要与名称相同" / "the abstract only repeats the title"
        => "补充数据内容、范围和用途" / "say what the data cover and what they are for";
    ABSTRACT_LONG = Error "R04.abstract.long":
        "摘要超过2000字" / "the abstract has more than 2,000 characters"
        => "缩短摘要" / "shorten the abstract";
    KEYWORDS_MANY = Error "R04.keywords.many":
        "关键字超过200个" / "there are more than 200 keywords"
        => "只保留最常用的关键字" / "keep the keywords people search for";
    CODE_SHAPE = Warning "R04.code.shape":
        "信息资源代码格式不对" / "the resource code has the wrong shape"
        => "格式为“分类码/顺序码”,例如307001/000010" / "use class/sequence, e.g. 307001/000010";
    PROVIDER_MISSING = Error "R04.provider.missing":
        "缺少信息资源提供方" / "the provider is missing"
        => "填写提供部门的全称" / "enter the full name of the department";
    USCC_MISSING = Info "R04.uscc.missing":
        "未填提供方的统一社会信用代码" / "the provider's credit code is missing"
        => "填写18位代码,便于按单位归集" / "enter its 18 characters; names have many spellings";
    USCC_INVALID = Error "R04.uscc.invalid":
        "统一社会信用代码有误" / "the credit code is wrong"
        => "对照证书核对18位代码;不确定时先留空" / "compare it with the certificate, or leave it empty";
    USCC_INNER = Warning "R04.uscc.inner":
        "统一社会信用代码中的组织机构代码校验位不符" / "the organisation code inside the credit code fails its check"
        => "对照证书核对;2015年前的代码可能确实如此" / "compare with the certificate; some old codes are so";
    PHONE_SHAPE = Info "R04.contact.phone":
        "电话号码格式不对" / "this does not look like a telephone number"
        => "写成021-12345678或手机号" / "write it like 021-12345678";
    EMAIL_SHAPE = Info "R04.contact.email":
        "电子邮箱格式不对" / "this does not look like an e-mail address"
        => "写成name@example.cn" / "write it like name@example.cn";
    THEME_MISSING = Info "R04.theme.missing":
        "未填数据领域" / "the theme is missing"
        => "选择一个数据领域" / "choose a theme";
    THEME_UNKNOWN = Info "R04.theme.unknown":
        "数据领域不在市级目录中" / "the theme is not one of the city portal's"
        => "可保留,或改选市级数据领域" / "keep it, or choose one of the city's themes";
    KEY_THEME_UNKNOWN = Info "R18.key_theme.unknown":
        "重点领域不在年度计划中" / "the key area is not in this year's plan"
        => "选择医疗食品、公共安全、交通出行或环境治理" / "choose one of the plan's four areas";
    SHARE_MISSING = Info "R04.share.missing":
        "未填共享类型" / "the type of sharing is missing"
        => "选择普遍共享、按需共享或不共享" / "choose universal, on demand or not shared";
    SHARE_UNKNOWN = Warning "R04.share.unknown":
        "共享类型无法识别,原文已保留" / "the type of sharing is unknown; the text is kept"
        => "选择普遍共享、按需共享或不共享" / "choose universal, on demand or not shared";
    SHARE_CONDITION = Warning "R04.share.condition":
        "按需共享未写共享条件" / "sharing on demand has no condition"
        => "写明什么部门、为何用途可以申请" / "say who may apply and for what";
    SHARE_REASON = Error "R04.share.reason":
        "不共享未写理由" / "not shared, without a reason"
        => "写明不予共享的法律依据" / "state the legal basis";
    SHARE_MODE = Warning "R04.share.mode":
        "共享方式无法识别,原文已保留" / "the way of sharing is unknown; the text is kept"
        => "选择接口交换、文件下载、离线交换或库表交换" / "choose service, file, offline or table";
    SHARE_ITEMS = Error "R04.share.items":
        "资源不共享,但有信息项可共享" / "the entry is not shared, but one of its items is"
        => "改资源为按需共享,或改信息项为不共享" / "share the entry on demand, or do not share the item";
    OPEN_MISSING = Error "R04.open.missing":
        "缺少公开属性" / "the type of opening is missing"
        => "选择公开、依申请公开或不公开" / "choose open, on request or closed";
    OPEN_UNKNOWN = Error "R04.open.unknown":
        "公开属性无法识别" / "the type of opening is unknown"
        => "选择公开、依申请公开或不公开" / "choose open, on request or closed";
    OPEN_CONDITION = Warning "R04.open.condition":
        "依申请公开未写开放条件" / "open on request has no condition"
        => "写明申请人资质和使用范围" / "say who may apply and for what use";
    OPEN_CONTRADICTION = Warning "R04.open.contradiction":
        "属性为公开,却写有开放条件" / "open to all, yet a condition is given"
        => "删去条件,或改为依申请公开" / "remove the condition, or open on request";
    OPEN_REASON = Error "R04.open.reason":
        "不公开未写理由" / "closed, without a reason"
        => "写明不公开的法律依据" / "state the legal basis";
    OPEN_ITEMS = Error "R04.open.items":
        "资源公开,但有信息项不公开" / "the entry is open, but one of its items is closed"
        => "提供去除或脱敏该项的版本,或改为依申请公开" / "offer a masked or cut form, or open on request";
    ITEMS_MANY = Error "R04.items.many":
        "信息项超过2000个" / "there are more than 2,000 items"
        => "把资源拆成几条" / "split the entry";
    ITEM_NAME = Error "R04.item.name":
        "信息项缺少名称" / "an item has no name"
        => "填写名称,或删除该行" / "enter its name, or delete the line";
    ITEM_TWICE = Warning "R05.item.twice":
        "信息项名称重复" / "the name of an item is repeated"
        => "删除重复项,或改名区分" / "delete one, or tell them apart";
    ITEM_TYPE = Warning "R04.item.type":
        "信息项数据类型无法识别,原文已保留" / "the type of an item is unknown; the text is kept"
        => "选择字符型、数值型、日期型等" / "choose text, number, date …";
    ITEM_SHARE_UNKNOWN = Error "R04.item.share_unknown":
        "信息项共享属性无法识别" / "the sharing of an item is unknown"
        => "选择普遍共享、按需共享或不共享" / "choose universal, on demand or not shared";
    ITEM_OPEN_UNKNOWN = Error "R04.item.open_unknown":
        "信息项公开属性无法识别" / "the opening of an item is unknown"
        => "选择公开、依申请公开或不公开" / "choose open, on request or closed";
    ITEM_SHARE_REASON = Error "R04.item.share_reason":
        "信息项不共享未写理由" / "an item is not shared, without a reason"
        => "填写不予共享理由" / "state the reason";
    ITEM_OPEN_REASON = Error "R04.item.open_reason":
        "信息项不公开未写理由" / "an item is closed, without a reason"
        => "填写不予公开理由" / "state the reason";
    ITEM_PERSONAL = Warning "R21.item.personal":
        "公开资源含个人信息项,未定脱敏规则" / "an open entry has a personal item without a masking rule"
        => "选择脱敏规则,或将该项设为不公开" / "choose a masking rule, or close the item";
    KEYWORD_PERSONAL = Warning "R21.keyword.personal":
        "公开资源的关键字提到个人信息" / "a keyword of an open entry names personal data"
        => "核对数据中有无该项;如有,登记信息项并脱敏" / "check the data; list the item and mask it";
    CHARSET_MISSING = Info "R04.charset.missing":
        "文本类文件未注明字符集" / "text files without a character set"
        => "填写UTF-8或GB18030" / "enter UTF-8 or GB18030";
    CYCLE_MISSING = Info "R04.cycle.missing":
        "未填更新周期" / "the update cycle is missing"
        => "选择更新周期" / "choose an update cycle";
    CYCLE_UNKNOWN = Warning "R04.cycle.unknown":
        "更新周期无法识别,原文已保留" / "the update cycle is unknown; the text is kept"
        => "选择实时、每日、每周、每月、每季度、每年等" / "choose real time, daily, weekly, monthly …";
    OVERDUE = Info "R25.update.overdue":
        "数据超过更新周期未更新" / "the data are older than their update cycle"
        => "更新数据,或调整更新周期" / "renew the data, or change the cycle";
    NUMBER_UNREADABLE = Warning "R04.number.unreadable":
        "数字无法识别,原文已保留" / "the number cannot be read; the text is kept"
        => "只写数字" / "write digits only";
    DATE_UNREADABLE = Warning "R04.date.unreadable":
        "日期无法识别,原文已保留" / "the date cannot be read; the text is kept"
        => "写成2016-05-11" / "write it like 2016-05-11";
    DATE_FUTURE = Error "R05.date.future":
        "日期晚于今天" / "the date lies in the future"
        => "核对日期" / "check the date";
    VALIDITY_ORDER = Warning "R04.validity.order":
        "有效期止早于有效期起" / "the validity ends before it begins"
        => "核对有效期" / "check both dates";
    DELIVERY_MODE = Warning "R04.delivery.mode":
        "分发方式无法识别,原文已保留" / "the form of a distribution is unknown; the text is kept"
        => "选择接口、文件或离线" / "choose service, file or offline";
    DELIVERY_ADDRESS = Info "R04.delivery.address":
        "接口或文件没有地址" / "a service or file has no address"
        => "填写访问地址" / "enter its address";
    DELIVERIES_MANY = Error "R04.delivery.many":
        "分发超过200个" / "there are more than 200 distributions"
        => "合并分发" / "join some of them";
    URL_UNREADABLE = Warning "R04.url.unreadable":
        "不是可用的网址,原文已保留" / "this is no web address; the text is kept"
        => "写完整网址,以https://开头" / "write the whole address, from https:// on";
    SHARE_UNDELIVERED = Info "R10.share.undelivered":
        "普遍共享资源尚无接口或文件" / "shared with all, but no service or file yet"
        => "登记接口或文件" / "add a service or file";
    OPEN_UNDELIVERED = Info "R20.open.undelivered":
        "公开资源尚无接口或文件" / "open, but no service or file yet"
        => "登记接口或文件" / "add a service or file";
    SECRET = Error "R34.secrecy.marked":
        "标为涉密的资源不得录入" / "an entry marked secret must not be entered"
        => "从本系统移除;涉密目录按保密规定另行管理" / "remove it; secret entries are kept elsewhere";
    SECRECY_UNKNOWN = Warning "R34.secrecy.unknown":
        "涉密属性无法识别" / "the mark of secrecy is unknown"
        => "写“非涉密”;涉密的不得录入" / "write 非涉密 if it is not secret";
    SECRET_TITLE = Warning "R34.title.secret":
        "名称提到涉密" / "the title speaks of secrecy"
        => "由保密员确认资源本身不涉密" / "have the security officer confirm that the entry is not secret";
    EXTENSIONS_MANY = Error "R04.extensions.many":
        "扩展字段超过200个" / "there are more than 200 extension fields"
        => "删去不用的列" / "drop columns nobody uses";
    RECORD_LARGE = Error "R04.record.large":
        "整条目录超过64 KiB" / "the whole entry is larger than 64 KiB"
        => "缩短说明或拆分信息项" / "shorten notes or split the items";
    COLUMN_SECOND = Info "R04.column.second":
        "同一字段有两列,本列存为扩展字段" / "a second column for one field was kept as an extension"
        => "如需采用本列,调换两列或修改列名对照表" / "to use it, swap the columns or change the label table";
    VALUE_SHAPE = Warning "R04.value.shape":
        "内容结构不对,存为扩展字段" / "the value has the wrong structure and was kept as an extension"
        => "按导出文件的结构填写" / "use the structure of an exported file";
}
